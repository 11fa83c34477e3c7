// The body of a request that kexer answers itself, read whole under a bound.

import { Buffer } from 'node:buffer';

import { KexerError } from '../base/errors.ts';

import type { AnyRequest } from './request-context.ts';

/** @throws KexerError tooLarge; clientGone if it is cut. */
export async function readBody(request: AnyRequest, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request) {
      const bytes = Buffer.from(chunk as Uint8Array);
      size += bytes.length;
      if (size > maxBytes) break;
      chunks.push(bytes);
    }
  } catch (cause) {
    throw new KexerError('clientGone', 'Cannot read the whole request: it was cut', { cause });
  }
  if (size > maxBytes) {
    throw new KexerError('tooLarge', `Cannot take the request: its body is longer than ${maxBytes} bytes`);
  }
  return Buffer.concat(chunks, size);
}
