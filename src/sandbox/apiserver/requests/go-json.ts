// Parsing JSON with the error texts of Go's encoding/json, since clients are shown them. JSON.parse does the work; only when it
// refuses is the text scanned again to say what Go would have said.

/** Its message is Go's. */
export class GoJsonError extends Error {}

/** @throws GoJsonError. */
export function parseGoJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new GoJsonError(goSyntaxError(text), { cause: error });
  }
}

function quoteChar(char: string): string {
  if (char === "'") return String.raw`'\''`;
  if (char === '"') return `'"'`;
  return `'${JSON.stringify(char).slice(1, -1)}'`;
}

/** Walks the text as Go's scanner does, to the first character that cannot stand where it stands. */
class Scanner {
  readonly #text: string;
  #index = 0;

  constructor(text: string) {
    this.#text = text;
  }

  run(): string {
    try {
      this.#value();
      this.#space();
      if (this.#index < this.#text.length) this.#fail('after top-level value');
    } catch (error) {
      if (error instanceof GoJsonError) return error.message;
      throw error;
    }
    return 'invalid JSON';
  }

  #fail(context: string): never {
    const char = this.#text[this.#index];
    if (char === undefined) throw new GoJsonError('unexpected end of JSON input');
    throw new GoJsonError(`invalid character ${quoteChar(char)} ${context}`);
  }

  #space(): void {
    while (/[ \t\r\n]/.test(this.#text[this.#index] ?? '')) this.#index += 1;
  }

  #value(): void {
    this.#space();
    const char = this.#text[this.#index];
    if (char === '{') this.#object();
    else if (char === '[') this.#array();
    else if (char === '"') this.#string();
    else if (char === 't') this.#literal('true');
    else if (char === 'f') this.#literal('false');
    else if (char === 'n') this.#literal('null');
    else if (char !== undefined && /[-0-9]/.test(char)) this.#number();
    else this.#fail('looking for beginning of value');
  }

  #literal(word: string): void {
    for (let offset = 0; offset < word.length; offset += 1) {
      if (this.#text[this.#index] !== word[offset]) {
        this.#fail(`in literal ${word} (expecting ${quoteChar(word[offset] ?? '')})`);
      }
      this.#index += 1;
    }
  }

  #number(): void {
    if (this.#text[this.#index] === '-') this.#index += 1;
    if (!/[0-9]/.test(this.#text[this.#index] ?? '')) this.#fail('in numeric literal');
    const [digits = ''] = /^(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/.exec(this.#text.slice(this.#index)) ?? [];
    this.#index += digits.length;
  }

  #string(): void {
    this.#index += 1;
    for (;;) {
      const char = this.#text[this.#index];
      if (char === undefined || char < ' ') this.#fail('in string literal');
      if (char === '\\') {
        this.#index += 1;
        if (!/["\\/bfnrtu]/.test(this.#text[this.#index] ?? '')) this.#fail('in string escape code');
      }
      this.#index += 1;
      if (char === '"') return;
    }
  }

  #array(): void {
    this.#index += 1;
    this.#space();
    if (this.#text[this.#index] === ']') {
      this.#index += 1;
      return;
    }
    for (;;) {
      this.#value();
      this.#space();
      const char = this.#text[this.#index];
      if (char !== ',' && char !== ']') this.#fail('after array element');
      this.#index += 1;
      if (char === ']') return;
    }
  }

  #object(): void {
    this.#index += 1;
    this.#space();
    if (this.#text[this.#index] === '}') {
      this.#index += 1;
      return;
    }
    for (;;) {
      this.#space();
      if (this.#text[this.#index] !== '"') this.#fail('looking for beginning of object key string');
      this.#string();
      this.#space();
      if (this.#text[this.#index] !== ':') this.#fail('after object key');
      this.#index += 1;
      this.#value();
      this.#space();
      const char = this.#text[this.#index];
      if (char !== ',' && char !== '}') this.#fail('after object key:value pair');
      this.#index += 1;
      if (char === '}') return;
    }
  }
}

function goSyntaxError(text: string): string {
  return new Scanner(text).run();
}
