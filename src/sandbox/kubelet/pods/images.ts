// Images are names only in the sandbox: nothing is pulled, every command runs from the host's own programs. This table says what a
// container without `command` runs, as the image of that name would.

import type { ContainerSpec } from './pod.ts';

const sleepForever = ['sh', '-c', 'trap "exit 0" TERM INT QUIT; while :; do sleep 2147483647 & wait $!; done'];

interface Image {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
}

const shell: Image = { entrypoint: [], command: ['sh'] };
const server: Image = { entrypoint: [], command: sleepForever };

/** By the last part of the image's name, without tag. Servers do not serve: they only stay. */
const knownImages = new Map<string, Image>([
  ['busybox', shell],
  ['alpine', shell],
  ['debian', { entrypoint: [], command: ['bash'] }],
  ['ubuntu', { entrypoint: [], command: ['bash'] }],
  ['pause', server],
  ['nginx', server],
  ['httpd', server],
  ['redis', server],
  ['postgres', server],
]);

/** `nginx` of `docker.io/library/nginx:1.29@sha256:…`. */
export function imageBaseName(image: string): string {
  const last = image.split('/').at(-1) ?? '';
  return last.split('@')[0]?.split(':')[0] ?? '';
}

/** What to run: `command` replaces the image's entrypoint and drops its arguments, `args` replaces the arguments. */
export function commandOf(container: ContainerSpec): string[] {
  const image = knownImages.get(imageBaseName(container.image ?? '')) ?? server;
  const { command = [], args = [] } = container;
  if (command.length > 0) return [...command, ...args];
  return [...image.entrypoint, ...(args.length > 0 ? args : image.command)];
}

/** A made-up digest that is always the same for an image's name, in the form the runtime reports. */
export function imageId(image: string, digest: (text: string) => string): string {
  return `sandbox.kexer/${imageBaseName(image)}@sha256:${digest(image)}`;
}
