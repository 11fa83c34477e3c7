// Commands whose output is a secret because somebody asked for it: the few exceptions to the suite-wide look for secrets. Each says why.

interface Exception {
  /** Words that the command has, in this order, one right after the other. */
  readonly words: readonly string[];
  readonly stream: 'stdout' | 'stderr';
  readonly why: string;
}

export const exceptions: readonly Exception[] = [
  {
    words: ['kubeconfig'],
    stream: 'stdout',
    why: 'kexer kubeconfig prints a kubeconfig, with the credential that the user has in the one it was made of',
  },
  {
    words: ['get', 'secret,deployment,service'],
    stream: 'stdout',
    why: 'an administrator reads the Secret of the serving certificate, to see that a second kubectl apply leaves it alone',
  },
  {
    words: ['create', 'token'],
    stream: 'stdout',
    why: 'kubectl create token prints a token that it has just asked for',
  },
];

/** @param words of a command, its program first */
export function isPrintedOnPurpose(words: readonly string[], stream: 'stdout' | 'stderr'): boolean {
  return exceptions.some((exception) => {
    if (exception.stream !== stream) return false;
    return words.some((_, at) => exception.words.every((word, index) => words[at + index] === word));
  });
}
