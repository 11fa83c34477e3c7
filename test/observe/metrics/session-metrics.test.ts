import { expect } from 'chai';

import { KexerError } from '../../../src/base/errors.ts';
import { DialError } from '../../../src/net/dial.ts';
import { exposition } from '../../../src/observe/metrics/exposition.ts';
import { Registry } from '../../../src/observe/metrics/registry.ts';
import { type MeasuredSession, SessionMetrics } from '../../../src/observe/metrics/session-metrics.ts';
import type { StageEnd } from '../../../src/observe/stages.ts';

class Stand {
  readonly registry = new Registry({ onError: () => {} });
  readonly metrics = new SessionMetrics(this.registry);
  readonly running: MeasuredSession[] = [];

  constructor() {
    this.metrics.readRunning(() => this.running);
  }

  /** Lines of the scrape that begin so and are not zero. */
  lines(name: string): string[] {
    return exposition(this.registry.collect(), 'text')
      .split('\n')
      .filter((line) => line.startsWith(name) && !line.includes('_bucket') && !line.endsWith(' 0'));
  }
}

interface Options {
  readonly kind?: string;
  readonly cluster?: string;
  readonly protocol?: string;
  readonly detour?: string;
}

function session(options: Options = {}): { -readonly [K in keyof MeasuredSession]: MeasuredSession[K] } {
  const { kind = 'exec', cluster = 'local', protocol = 'SPDY/3.1 v4.channel.k8s.io', detour } = options;
  const subject = {
    kind,
    cluster,
    clusterNamespace: 'ns',
    clientProtocol: protocol,
    ...(detour === undefined ? {} : { detour }),
  };
  return { bytesIn: 0, bytesOut: 0, durationMs: 0, subject };
}

describe('SessionMetrics', () => {
  it('counts sessions by kind, protocol, leg and cluster, running and begun', () => {
    const stand = new Stand();
    const first = session();
    const second = session({ kind: 'log', protocol: 'HTTP/2.0', detour: 'setting' });
    for (const each of [first, second, session()]) stand.metrics.sessionStarted(each);
    stand.running.push(first, second);
    expect(stand.lines('kexer_sessions_')).to.deep.equal([
      'kexer_sessions_active{kind="exec",protocol="SPDY/3.1 v4.channel.k8s.io",leg="kubelet",cluster="local"} 1',
      'kexer_sessions_active{kind="log",protocol="HTTP/2.0",leg="apiserver",cluster="local"} 1',
      'kexer_sessions_total{kind="exec",protocol="SPDY/3.1 v4.channel.k8s.io",leg="kubelet",cluster="local"} 2',
      'kexer_sessions_total{kind="log",protocol="HTTP/2.0",leg="apiserver",cluster="local"} 1',
    ]);
  });

  it('shows what no longer runs as none', () => {
    const stand = new Stand();
    stand.metrics.sessionStarted(session());
    const text = exposition(stand.registry.collect(), 'text');
    expect(text).to.match(/^kexer_sessions_active\{kind="exec",.*\} 0$/m);
  });

  it('keeps protocols and clusters bounded', () => {
    const stand = new Stand();
    for (let index = 0; index < 300; index += 1) {
      stand.metrics.sessionStarted(session({ kind: 'upgrade', protocol: `made-up/${index}` }));
      stand.metrics.sessionStarted(session({ cluster: `c${index}` }));
    }
    const lines = stand.lines('kexer_sessions_total');
    expect(lines.filter((line) => line.includes('kind="upgrade"'))).to.deep.equal([
      'kexer_sessions_total{kind="upgrade",protocol="other",leg="apiserver",cluster="local"} 300',
    ]);
    expect(lines.filter((line) => line.includes('kind="exec"'))).to.have.length(100);
    expect(lines.find((line) => line.includes('cluster="other"'))).to.match(/ 201$/);
    expect(lines.find((line) => line.includes('c5"'))).to.contain('cluster="ns/c5"');
  });

  it('reads bytes of running sessions, and never counts back when they end', () => {
    const stand = new Stand();
    const one = session();
    stand.metrics.sessionStarted(one);
    stand.running.push(one);
    const seen: string[][] = [];
    for (const bytes of [10, 25]) {
      one.bytesOut = bytes;
      one.bytesIn = 1;
      seen.push(stand.lines('kexer_session_bytes_total'));
    }
    stand.running.pop();
    stand.metrics.sessionEnded(one, { cause: 'normal' });
    seen.push(stand.lines('kexer_session_bytes_total'));
    const line = (direction: string, bytes: number): string =>
      `kexer_session_bytes_total{direction="${direction}",kind="exec",leg="kubelet",cluster="local"} ${bytes}`;
    expect(seen).to.deep.equal([
      [line('in', 1), line('out', 10)],
      [line('in', 1), line('out', 25)],
      [line('in', 1), line('out', 25)],
    ]);
  });

  it('says why and after how long sessions ended', () => {
    const stand = new Stand();
    stand.metrics.sessionEnded({ ...session(), durationMs: 2500 }, { cause: 'kubeletGone' });
    expect([...stand.lines('kexer_session_end_total'), ...stand.lines('kexer_session_duration')]).to.deep.equal([
      'kexer_session_end_total{reason="kubeletGone",kind="exec"} 1',
      'kexer_session_duration_seconds_sum{kind="exec"} 2.5',
      'kexer_session_duration_seconds_count{kind="exec"} 1',
    ]);
  });

  it('says for what kexer itself ended one', () => {
    const stand = new Stand();
    stand.metrics.sessionEnded({ ...session(), endRequest: { by: 'podDeleted' } }, { cause: 'ended' });
    stand.metrics.sessionEnded(session(), { cause: 'ended' });
    // Somebody wanted its end, and its client was faster.
    stand.metrics.sessionEnded({ ...session(), endRequest: { by: 'shutdown' } }, { cause: 'clientGone' });
    expect(stand.lines('kexer_session_end_total')).to.deep.equal([
      'kexer_session_end_total{reason="clientGone",kind="exec"} 1',
      'kexer_session_end_total{reason="podDeleted",kind="exec"} 1',
      'kexer_session_end_total{reason="other",kind="exec"} 1',
    ]);
  });

  it('splits the start of a session by stage', () => {
    const stand = new Stand();
    stand.metrics.started(
      new Map([
        ['authn', 1],
        ['preflight', 4],
      ]),
      7,
    );
    expect(stand.lines('kexer_session_start_seconds').filter((line) => line.includes('_sum'))).to.deep.equal([
      'kexer_session_start_seconds_sum{stage="authn"} 0.001',
      'kexer_session_start_seconds_sum{stage="preflight"} 0.004',
      'kexer_session_start_seconds_sum{stage="total"} 0.007',
    ]);
  });

  const answered = (status: number): StageEnd => ({ isOk: true, status });
  const failed = (code: 'unreachable' | 'timeout' | 'clientGone' | 'badGateway'): StageEnd => ({
    isOk: false,
    error: new KexerError(code, 'x'),
  });
  const outcomes: readonly (readonly [end: StageEnd, outcome: string])[] = [
    [answered(101), 'allowed'],
    [answered(200), 'allowed'],
    [answered(403), 'forbidden'],
    [answered(404), 'notFound'],
    [answered(400), 'invalid'],
    [answered(422), 'invalid'],
    [answered(401), 'refused'],
    [answered(429), 'refused'],
    [answered(500), 'serverError'],
    [answered(503), 'serverError'],
    [failed('unreachable'), 'unreachable'],
    [failed('timeout'), 'timeout'],
    [failed('clientGone'), 'clientGone'],
    [failed('badGateway'), 'error'],
    [{ isOk: false, error: new Error('?') }, 'error'],
  ];
  for (const [end, outcome] of outcomes) {
    it(`counts a preflight that ${end.isOk ? `was answered ${end.status}` : `failed by ${String(end.error)}`} as ${outcome}`, () => {
      const stand = new Stand();
      stand.metrics.stageEnded('preflight', end);
      expect(stand.lines('kexer_preflights_total')).to.deep.equal([`kexer_preflights_total{outcome="${outcome}"} 1`]);
    });
  }

  const dialed = (code: 'unreachable' | 'tls' | 'timeout' | 'clientGone', systemCode?: string): DialError =>
    new DialError(code, 'x', { address: 'a:1', servername: 'a', systemCode });
  const causes: readonly (readonly [error: unknown, cause: string])[] = [
    [dialed('unreachable', 'ECONNREFUSED'), 'refused'],
    [dialed('unreachable', 'ECONNRESET'), 'reset'],
    [dialed('unreachable'), 'reset'],
    [dialed('unreachable', 'EHOSTUNREACH'), 'noRoute'],
    [dialed('unreachable', 'ENOTFOUND'), 'unknownHost'],
    [dialed('timeout'), 'timeout'],
    [dialed('tls', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'untrusted'],
    [dialed('tls', 'SELF_SIGNED_CERT_IN_CHAIN'), 'untrusted'],
    [dialed('tls', 'ERR_TLS_CERT_ALTNAME_INVALID'), 'wrongName'],
    [dialed('tls', 'CERT_HAS_EXPIRED'), 'expired'],
    [dialed('tls', 'ERR_SSL_WHATEVER'), 'tls'],
    [dialed('tls'), 'tls'],
    [new KexerError('tls', 'no CA'), 'notConfigured'],
    [dialed('clientGone'), 'clientGone'],
    [dialed('unreachable', 'EWHATEVER'), 'other'],
    [new Error('?'), 'other'],
  ];
  for (const [error, cause] of causes) {
    it(`counts a dial that failed by ${describeDial(error)} as ${cause}`, () => {
      const stand = new Stand();
      stand.metrics.stageEnded('dial', { isOk: false, error });
      expect(stand.lines('kexer_kubelet_dial_errors')).to.deep.equal([
        `kexer_kubelet_dial_errors_total{cause="${cause}"} 1`,
      ]);
    });
  }
});

function describeDial(error: unknown): string {
  return error instanceof DialError ? `${error.code} ${error.systemCode ?? ''}` : String(error);
}
