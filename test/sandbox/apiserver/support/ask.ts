// One HTTPS request to the sandbox's apiserver as somebody, with the whole answer; and a sandbox without kubelets to ask.

import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';
import { readFileSync } from 'node:fs';

import type { Sandbox } from '../../../../src/sandbox/sandbox.ts';

export interface Question {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: unknown;
  /** A token, a client certificate, or nobody; default the admin. */
  readonly as?: { readonly token: string } | { readonly cert: string; readonly key: string } | 'nobody' | 'admin';
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined if it is none. */
  readonly json: Record<string, unknown> | undefined;
}

export function ask(sandbox: Sandbox, question: Question): Promise<Answer> {
  const { files } = sandbox;
  const as = question.as ?? 'admin';
  const identity =
    as === 'admin'
      ? { cert: readFileSync(files.adminCertFile), key: readFileSync(files.adminKeyFile) }
      : typeof as === 'object' && 'cert' in as
        ? { cert: as.cert, key: as.key }
        : {};
  const authorization = typeof as === 'object' && 'token' in as ? { Authorization: `Bearer ${as.token}` } : {};
  const agent = new Agent({ keepAlive: false });
  const body = question.body === undefined ? undefined : JSON.stringify(question.body);
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      `${sandbox.apiserver.url}${question.path}`,
      {
        method: question.method ?? 'GET',
        ca: readFileSync(files.servingCaFile),
        ...identity,
        agent,
        headers: {
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
          ...authorization,
          ...question.headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: parse(text) });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** `CODE MESSAGE` of a Status, for tables. */
export function refusal({ status, json, text }: Answer): string {
  const message = json?.['message'];
  return `${status} ${typeof message === 'string' ? message : text.trim()}`;
}

/** Events of the audit log, oldest first. */
export function auditEvents(sandbox: Sandbox): Record<string, unknown>[] {
  return lines(sandbox.files.auditLog);
}

export function lines(file: string): Record<string, unknown>[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined; // a plain text answer
  }
}
