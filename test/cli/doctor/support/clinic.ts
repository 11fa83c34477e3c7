// A sandbox with a kexer that is well, the doctor in front of it, and ways to break things until the test is over.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import { parse, stringify } from 'yaml';

import { systemClock } from '../../../../src/base/clock.ts';
import { Scope } from '../../../../src/base/scope.ts';
import type { CommandIo } from '../../../../src/cli/command.ts';
import { composeServer } from '../../../../src/cli/compose.ts';
import { runDoctor } from '../../../../src/cli/doctor.ts';
import type { Finding } from '../../../../src/cli/doctor/finding.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { createLogger } from '../../../../src/observe/logger.ts';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { type Sandbox, startSandbox } from '../../../../src/sandbox/sandbox.ts';

const admission = 'admissionregistration.k8s.io';

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Call inside `describe`, whose time limit has to be 30 s at least. */
export function useClinic() {
  let sandbox: Sandbox | undefined;
  const here = (): Sandbox => {
    if (sandbox === undefined) throw new Error('There is no sandbox before the first test');
    return sandbox;
  };
  const scope = new Scope();
  /** What is undone after each test, the last first. */
  let undo: (() => void | Promise<void>)[] = [];

  before('a sandbox with a kexer', async () => {
    const started = await startSandbox();
    scope.add(() => started.stop());
    sandbox = started;
    const config = await loadConfig({
      argv: ['--config', here().files.kexerConfig, '--secure-port', '0', '--log-level', 'silent'],
      environment: {},
    });
    const log = createLogger({ level: 'silent' });
    const kexer = scope.child();
    const deps = { clock: systemClock, log, scope: kexer, environment: {}, version: '0.0.0-test' };
    const { port, whenReady } = await composeServer(deps, config);
    await whenReady(kexer.signal);
    await here().registerKexer({ port });
    await here().ready();
    await whenAvailable('True');
  });

  after(() => scope.close());

  afterEach(async () => {
    for (const restore of undo.toReversed()) await restore();
    undo = [];
  });

  async function call(
    argv: readonly string[],
    options: { clock?: typeof systemClock; processFile?: string; environment?: Record<string, string> } = {},
  ): Promise<Outcome> {
    const out: string[] = [];
    const err: string[] = [];
    const io: CommandIo = {
      print: (line) => out.push(line),
      complain: (line) => err.push(line),
      environment: options.environment ?? {},
      onStopSignal: () => () => {},
    };
    const { environment: _environment, ...rest } = options;
    const code = await runDoctor(argv, io, rest);
    return { code, out: out.join('\n'), err: err.join('\n') };
  }

  /** As kexer itself, with its settings. */
  const asKexer = (...more: readonly string[]): string[] => ['--config', here().files.kexerConfig, ...more];
  /** As the cluster's admin, from a workstation. */
  async function asAdmin(...more: readonly string[]): Promise<string[]> {
    const file = join(here().dir, 'admin.kubeconfig');
    const whole = parse(await readFile(here().files.kubeconfig, 'utf8')) as Record<string, unknown>;
    await writeFile(file, stringify({ ...whole, 'current-context': 'cluster' }));
    return ['--kubeconfig', file, '--kubelet-certificate-authority', here().files.kubeletCaFile, ...more];
  }

  async function findings(
    argv: readonly string[],
    options: Parameters<typeof call>[1] = {},
  ): Promise<{ code: number; findings: Finding[] }> {
    const { code, out, err } = await call([...argv, '-o', 'json'], options);
    expect(err).to.equal('');
    return { code, findings: (JSON.parse(out) as { findings: Finding[] }).findings };
  }

  /** What is not in order, as `STATUS CHECK: WHAT`. */
  async function complaints(
    argv: readonly string[],
    options: Parameters<typeof call>[1] = {},
  ): Promise<{ code: number; texts: string[] }> {
    const report = await findings(argv, options);
    const wrong = report.findings.filter(({ status }) => status !== 'ok');
    for (const { status, fix, check } of wrong) expect(fix === '', `${check} has a fix`).to.equal(status === 'skip');
    return { code: report.code, texts: wrong.map(({ status, check, what }) => `${status} ${check}: ${what}`) };
  }

  /** Changes an object until the test is over. */
  function change(
    key: { group: string; resource: string; namespace?: string; name: string },
    edit: (draft: KubeObject) => void,
  ): void {
    const whole = { namespace: '', ...key };
    const kept = structuredClone(here().store.mustGet(whole));
    here().store.mutate(whole, edit);
    undo.push(() => {
      here().store.mutate(whole, (draft) => {
        for (const field of Object.keys(draft)) if (field !== 'metadata') delete draft[field];
        Object.assign(draft, structuredClone({ ...kept, metadata: draft.metadata }));
        if (kept.metadata.labels === undefined) delete draft.metadata.labels;
        else draft.metadata.labels = structuredClone(kept.metadata.labels);
      });
    });
  }

  function create(resource: string, object: KubeObject): void {
    here().store.create({ group: admission, resource }, object);
    const { name } = object.metadata;
    undo.push(() => {
      here().store.delete({ group: admission, resource, namespace: '', name });
    });
  }

  const apiService = { group: 'apiregistration.k8s.io', resource: 'apiservices', name: 'v1.backup.cv.io' };

  function available(): string | undefined {
    const object = here().store.get({ ...apiService, namespace: '' });
    const status = object?.['status'] as { conditions?: { type: string; status: string }[] } | undefined;
    return status?.conditions?.find(({ type }) => type === 'Available')?.status;
  }

  /** Until the availability controller has looked. */
  function whenAvailable(wanted: string): Promise<void> {
    return new Promise((resolve) => {
      const stop = here().store.watch(apiService, undefined, () => {
        if (available() !== wanted) return;
        stop();
        resolve();
      });
      if (available() !== wanted) return;
      stop();
      resolve();
    });
  }

  const later = (restore: () => void | Promise<void>): void => void undo.push(restore);
  return { sandbox: here, call, asKexer, asAdmin, findings, complaints, change, create, later, whenAvailable };
}
