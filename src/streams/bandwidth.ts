// How much payload sessions may pass in a second: of one user, and of all together, each direction by itself. Nothing is dropped: who has used up
// their share is not read from for a while, and TCP slows the sender down. Where the total is short, users take turns, whatever number of
// sessions each has, and so do the sessions of one user. Without a limit none of this exists.
//
// Bytes are counted after they have passed, since what a socket has given cannot be given back. So a session has credit, and asks for more when
// it is used up: it gets it at once if there is enough, and is held until its turn if not.

import type { Clock, Timer } from '../base/clock.ts';
import { Level } from '../base/level.ts';
import type { PausableLeg } from './valve.ts';

export interface BandwidthOptions {
  /** Bytes a second in each direction; 0: no limit. */
  readonly perUser: number;
  readonly total: number;
}

/** One direction of one session. */
export interface Flow {
  /**
   * What is to be held when its share is used up.
   * @param options.hasFloor the sender breaks when it is held for too long: so much passes all the same, see {@link sipBytes}.
   */
  attach(leg: PausableLeg, options?: { hasFloor?: boolean }): void;
  /** So many bytes have passed. */
  spent(bytes: number): void;
}

/** The directions of one session; `in` is from the client. */
export interface SessionFlows {
  readonly in: Flow;
  readonly out: Flow;
  /** The session is over. */
  close(): void;
}

/** What one turn is worth: a twentieth of a second, within what is neither a wakeup for nothing nor long to wait behind. */
const turnsPerSecond = 20;
const minTurnBytes = 16 * 1024;
const maxTurnBytes = 256 * 1024;
/** Waiting shorter than this is not worth a timer. */
const minWaitMs = 10;
/**
 * client-go gives up on a message that is stuck for 60 s, and then drops the rest of stdin while it still reports the command's exit code. Linux
 * tells a sender of room only when a sixteenth of the receive buffer is free, which may be 6 MiB. So a floor is half a mebibyte every 20 s.
 */
export const sipBytes = 512 * 1024;
export const sipIntervalMs = 20_000;

export class Bandwidth {
  readonly #in: Shaper;
  readonly #out: Shaper;

  constructor(deps: { clock: Clock }, options: BandwidthOptions) {
    this.#in = new Shaper(deps, options);
    this.#out = new Shaper(deps, options);
  }

  open(user: string): SessionFlows {
    const flows = { in: this.#in.open(user), out: this.#out.open(user) };
    return {
      ...flows,
      close: () => {
        flows.in.close();
        flows.out.close();
      },
    };
  }
}

/** A user's part of one direction. */
class Share {
  readonly level: Level | undefined;
  /** Whose turn comes, in this order. */
  readonly waiting: Set<ShapedFlow>;
  openFlows: number;

  constructor(deps: { clock: Clock }, perSecond: number) {
    this.level = perSecond === 0 ? undefined : new Level(deps, { perSecond });
    this.waiting = new Set();
    this.openFlows = 0;
  }

  get hasRoom(): boolean {
    return this.level === undefined || this.level.current > 0;
  }
}

/** One direction of all sessions. */
class Shaper {
  readonly #clock: Clock;
  readonly #options: BandwidthOptions;
  readonly #turnBytes: number;
  readonly #total: Level | undefined;
  readonly #shares: Map<string, Share>;
  /** Users who wait, in the order of their turns. */
  #ring: Share[];
  #timer: Timer | undefined;

  constructor(deps: { clock: Clock }, options: BandwidthOptions) {
    this.#clock = deps.clock;
    this.#options = options;
    const rates = [options.perUser, options.total].filter((rate) => rate > 0);
    this.#turnBytes = Math.min(Math.max(Math.min(...rates) / turnsPerSecond, minTurnBytes), maxTurnBytes);
    this.#total = options.total === 0 ? undefined : new Level(deps, { perSecond: options.total });
    this.#shares = new Map();
    this.#ring = [];
    this.#timer = undefined;
  }

  open(user: string): ShapedFlow {
    let share = this.#shares.get(user);
    if (share === undefined) {
      this.#forgetIdle();
      share = new Share({ clock: this.#clock }, this.#options.perUser);
      this.#shares.set(user, share);
    }
    share.openFlows += 1;
    return new ShapedFlow({ clock: this.#clock, shaper: this }, share);
  }

  close(flow: ShapedFlow): void {
    flow.share.openFlows -= 1;
    this.#leave(flow);
  }

  /** More credit for a flow that has none left. */
  ask(flow: ShapedFlow): void {
    const { share } = flow;
    // Nobody is passed by: not its own sessions, and not users for whom the total alone is missing.
    const isFirst =
      share.waiting.size === 0 && (this.#total === undefined || !this.#ring.some((other) => other.hasRoom));
    if (isFirst && share.hasRoom && this.#hasRoom) {
      this.#grant(flow);
      return;
    }
    if (!flow.hold()) return;
    share.waiting.add(flow);
    if (share.waiting.size === 1) this.#ring.push(share);
    this.#arm();
  }

  /** Out of turn, on the account of the user alone: others do not pay for somebody's many sessions. */
  sip(flow: ShapedFlow): void {
    this.#leave(flow);
    flow.share.level?.takeOutOfTurn(flow.give(sipBytes));
  }

  get #hasRoom(): boolean {
    return this.#total === undefined || this.#total.current > 0;
  }

  #grant(flow: ShapedFlow): void {
    const cost = flow.give(this.#turnBytes);
    this.#total?.take(cost);
    flow.share.level?.take(cost);
  }

  #leave(flow: ShapedFlow): void {
    const { share } = flow;
    if (!share.waiting.delete(flow) || share.waiting.size > 0) return;
    this.#ring = this.#ring.filter((other) => other !== share);
    if (this.#ring.length === 0) this.#arm();
  }

  #serve(): void {
    this.#timer = undefined;
    let passed = 0; // users in a row who had to be passed by
    while (passed < this.#ring.length && this.#hasRoom) {
      const share = this.#ring.shift();
      if (share === undefined) break;
      const [flow] = share.waiting;
      if (flow !== undefined && share.hasRoom) {
        share.waiting.delete(flow);
        this.#grant(flow);
        passed = 0;
      } else {
        passed += 1;
      }
      if (share.waiting.size > 0) this.#ring.push(share);
    }
    this.#arm();
  }

  #arm(): void {
    // Anew each time: whoever joined may have to wait for less.
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#ring.length === 0) return;
    const shareWaitMs = Math.min(...this.#ring.map(({ level }) => level?.waitMs ?? 0));
    const waitMs = Math.max(this.#total?.waitMs ?? 0, shareWaitMs, minWaitMs);
    this.#timer = this.#clock.after(waitMs, () => this.#serve());
  }

  /** Of users without sessions, once they have paid what they owe: a new session is no way out of a debt. */
  #forgetIdle(): void {
    for (const [user, share] of this.#shares) {
      if (share.openFlows === 0 && (share.level === undefined || share.level.isFull)) this.#shares.delete(user);
    }
  }
}

class ShapedFlow implements Flow {
  readonly share: Share;
  readonly #clock: Clock;
  readonly #shaper: Shaper;
  #credit: number;
  #leg: PausableLeg | undefined;
  #hasFloor: boolean;
  #isHeld: boolean;
  #isClosed: boolean;
  #nextSipMs: number | undefined;
  #sipTimer: Timer | undefined;

  constructor(deps: { clock: Clock; shaper: Shaper }, share: Share) {
    this.share = share;
    this.#clock = deps.clock;
    this.#shaper = deps.shaper;
    this.#credit = 0;
    this.#leg = undefined;
    this.#hasFloor = false;
    this.#isHeld = false;
    this.#isClosed = false;
    this.#nextSipMs = undefined;
    this.#sipTimer = undefined;
  }

  attach(leg: PausableLeg, options: { hasFloor?: boolean } = {}): void {
    this.#leg = leg;
    this.#hasFloor = options.hasFloor === true;
    if (this.#isHeld) leg.pause();
  }

  spent(bytes: number): void {
    this.#credit -= bytes;
    // What a socket had read before it was paused still comes while it is held.
    if (this.#credit < 0 && !this.#isHeld && !this.#isClosed) this.#shaper.ask(this);
  }

  /** @returns whether it has to wait: with a floor it may just have its due. */
  hold(): boolean {
    if (this.#hasFloor) {
      const nowMs = this.#clock.monotonic();
      this.#nextSipMs ??= nowMs + sipIntervalMs;
      if (this.#nextSipMs <= nowMs) {
        this.#sip();
        return false;
      }
      this.#sipTimer = this.#clock.after(this.#nextSipMs - nowMs, () => this.#sip());
    }
    this.#isHeld = true;
    this.#leg?.pause();
    return true;
  }

  /** Pays what it overdrew and gives `bytes` of credit. @returns what that costs. */
  give(bytes: number): number {
    const cost = bytes - this.#credit;
    this.#credit = bytes;
    this.#release();
    return cost;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#shaper.close(this);
    this.#release();
  }

  #sip(): void {
    this.#nextSipMs = this.#clock.monotonic() + sipIntervalMs;
    this.#shaper.sip(this);
  }

  #release(): void {
    this.#sipTimer?.cancel();
    this.#sipTimer = undefined;
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#leg?.resume();
  }
}
