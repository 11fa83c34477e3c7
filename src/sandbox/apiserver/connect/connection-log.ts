// What the apiserver really carried between clients and kubelets: one JSON line when a stream or log begins and one when it ends. A
// test reads it to prove that kexer's streams did not pass here.

import { closeSync, openSync, writeSync } from 'node:fs';

import type { Clock } from '../../../base/clock.ts';

export interface CarriedStream {
  readonly auditId: string;
  readonly user: string;
  /** exec, attach, portforward or log. */
  readonly subresource: string;
  readonly namespace: string;
  readonly pod: string;
  readonly node: string;
  readonly method: string;
  readonly requestUri: string;
  /** How: `raw` relays bytes, `translate` speaks SPDY to the kubelet for a WebSocket client, `tunnel` unpacks a port-forward, `log` reads. */
  readonly mode: 'raw' | 'translate' | 'tunnel' | 'log';
}

export class ConnectionLog {
  readonly #clock: Clock;
  #file: number | undefined;
  #nextId = 1;
  #open = 0;

  constructor(deps: { clock: Clock }, options: { file: string }) {
    this.#clock = deps.clock;
    this.#file = openSync(options.file, 'a');
  }

  /** Streams open now. */
  get open(): number {
    return this.#open;
  }

  /** Returns what is called at the end; calling it again does nothing. */
  begin(stream: CarriedStream): (end: { fromClient?: number; toClient?: number }) => void {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#open += 1;
    let isOpen = true;
    this.#write({ event: 'open', id, ...stream });
    return (end) => {
      if (!isOpen) return;
      isOpen = false;
      this.#open -= 1;
      this.#write({ event: 'close', id, ...end });
    };
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #write(line: object): void {
    if (this.#file === undefined) return;
    writeSync(this.#file, `${JSON.stringify({ at: new Date(this.#clock.now()).toISOString(), ...line })}\n`);
  }
}
