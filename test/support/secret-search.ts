// Looks for secrets in what was written, whatever there is of both: a secret is a few short needles, a text is looked at once in every eighth
// place, in one table for all needles. So a suite's hundreds of megabytes cost a second and nothing is kept of them but what a needle may begin in.
// What it finds it names by kind and place, never by value. A secret must be known before it is written.

/** Bytes of a secret that stand for it: nobody writes so many of them by chance. */
const fragmentBytes = 32;
/** Shorter secrets are words of other texts. */
const minSecretBytes = 12;
/** Of the places in a text that are looked at. */
const step = 8;
const keyBytes = 4;
/** So long a needle covers a whole key in a place that is looked at, wherever it begins. */
const minNeedleBytes = step + keyBytes - 1;
const tableBits = 20;

export type SecretForm = 'raw' | 'base64' | 'base64url' | 'percent-encoded';

export interface Finding {
  readonly kind: string;
  readonly form: SecretForm;
  /** What it stood in. */
  readonly source: string;
  /** The test that ran then. */
  readonly during: string;
}

interface Needle {
  readonly kind: string;
  readonly form: SecretForm;
  readonly bytes: Buffer;
}

interface Entry {
  readonly needle: Needle;
  /** Where in the needle the key stands. */
  readonly offset: number;
}

export class SecretSearch {
  readonly #entries = new Map<number, Entry[]>();
  readonly #table = new Uint8Array(2 ** (tableBits - 3));
  readonly #needles = new Set<string>();
  /** By needle: where it may stand. */
  readonly #ignored = new Map<string, Set<string>>();
  readonly #findings = new Map<string, Finding>();
  #maxNeedleBytes = minNeedleBytes;
  #scanned = 0;
  /** Told with each finding. */
  during = '';

  get findings(): readonly Finding[] {
    return [...this.#findings.values()];
  }

  /** What was looked through so far: a search of nothing finds nothing. */
  get scannedBytes(): number {
    return this.#scanned;
  }

  get needleCount(): number {
    return this.#needles.size;
  }

  /** @param kind in words that may be printed. @param value of fewer than 12 characters: ignored, texts have such words */
  add(kind: string, value: string): void {
    for (const fragment of fragmentsOf(value.trim())) {
      for (const { form, text } of formsOf(fragment))
        this.#addNeedle({ kind, form, bytes: Buffer.from(text, 'latin1') });
    }
  }

  /** Somebody put it there on purpose: whoever calls this says why. */
  ignore(value: string, source: string): void {
    for (const fragment of fragmentsOf(value.trim())) {
      for (const { text } of formsOf(fragment)) {
        const sources = this.#ignored.get(text) ?? new Set();
        this.#ignored.set(text, sources.add(source));
      }
    }
  }

  /** A text that comes in pieces: a secret that is cut between two is found as well. */
  stream(source: string): (chunk: Uint8Array) => void {
    let tail: Buffer = Buffer.alloc(0);
    return (chunk) => {
      const overlap = this.#maxNeedleBytes - 1;
      if (tail.length > 0) this.#scan(Buffer.concat([tail, chunk.subarray(0, overlap)]), source);
      this.#scan(chunk, source);
      this.#scanned += chunk.length;
      const kept = chunk.length >= overlap ? chunk : Buffer.concat([tail, chunk]);
      // A copy: the chunk may be a part of a buffer that is used again.
      tail = Buffer.from(kept.subarray(Math.max(0, kept.length - overlap)));
    };
  }

  #addNeedle(needle: Needle): void {
    const { bytes } = needle;
    const text = bytes.toString('latin1');
    if (bytes.length < minNeedleBytes || this.#needles.has(text)) return;
    this.#needles.add(text);
    this.#maxNeedleBytes = Math.max(this.#maxNeedleBytes, bytes.length);
    for (let offset = 0; offset < step; offset += 1) {
      const key = bytes.readUInt32LE(offset);
      const entries = this.#entries.get(key);
      if (entries === undefined) this.#entries.set(key, [{ needle, offset }]);
      else entries.push({ needle, offset });
      const slot = slotOf(key);
      this.#table[slot >>> 3] = (this.#table[slot >>> 3] ?? 0) | (1 << (slot & 7));
    }
  }

  #scan(text: Uint8Array, source: string): void {
    const last = text.length - keyBytes;
    const table = this.#table;
    for (let at = 0; at <= last; at += step) {
      const key =
        ((text[at] ?? 0) | ((text[at + 1] ?? 0) << 8) | ((text[at + 2] ?? 0) << 16) | ((text[at + 3] ?? 0) << 24)) >>>
        0;
      const slot = slotOf(key);
      if (((table[slot >>> 3] ?? 0) & (1 << (slot & 7))) === 0) continue;
      for (const { needle, offset } of this.#entries.get(key) ?? []) {
        const from = at - offset;
        const to = from + needle.bytes.length;
        if (from < 0 || to > text.length || needle.bytes.compare(text, from, to) !== 0) continue;
        this.#found(needle, source);
      }
    }
  }

  #found({ kind, form, bytes }: Needle, source: string): void {
    if (this.#ignored.get(bytes.toString('latin1'))?.has(source) === true) return;
    const finding = { kind, form, source, during: this.during };
    this.#findings.set(JSON.stringify(finding), finding);
  }
}

function slotOf(key: number): number {
  return Math.imul(key, 0x9e3779b1) >>> (32 - tableBits);
}

/** What no one can do without: of a JWT the signature, of a key what is not in its certificate too, of others both ends. */
function fragmentsOf(secret: string): string[] {
  const pem = /-----BEGIN [A-Z ]*PRIVATE KEY-----\s+([\s\S]*?)-----END/.exec(secret)?.[1];
  if (pem !== undefined) {
    const lines = pem.split(/\s+/).filter((line) => line !== '');
    // A short one is of an elliptic curve: PKCS #8 has the secret number in bytes 36 to 67, and behind it the public one.
    const line = lines.length < 6 ? lines[0]?.slice(48) : lines[Math.floor(lines.length / 2)];
    return line === undefined ? [] : [line.slice(0, fragmentBytes)];
  }
  const signature = /^eyJ[\w-]*\.[\w-]*\.([\w-]+)$/.exec(secret)?.[1];
  const whole = signature ?? secret;
  if (whole.length < minSecretBytes) return [];
  return whole.length <= fragmentBytes
    ? [whole]
    : [...new Set([whole.slice(0, fragmentBytes), whole.slice(-fragmentBytes)])];
}

function formsOf(fragment: string): { form: SecretForm; text: string }[] {
  const forms: { form: SecretForm; text: string }[] = [{ form: 'raw', text: fragment }];
  const percent = (form: string): void => {
    const text = encodeURIComponent(form);
    if (text !== form) forms.push({ form: 'percent-encoded', text });
  };
  percent(fragment);
  // As it stands within a JSON text.
  const quoted = JSON.stringify(fragment).slice(1, -1);
  if (quoted !== fragment) forms.push({ form: 'raw', text: quoted });
  const bytes = Buffer.from(fragment, 'latin1');
  // Something may stand before it in what was encoded: any rest of three bytes.
  for (const before of [0, 1, 2]) {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    const text = encoded.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
    forms.push({ form: 'base64', text });
    const url = text.replaceAll('+', '-').replaceAll('/', '_');
    if (url !== text) forms.push({ form: 'base64url', text: url });
    percent(text);
  }
  return forms;
}
