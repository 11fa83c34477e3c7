import { expect } from 'chai';
import { codeOf } from '../../src/base/errors.ts';
import {
  type CommandEnd,
  commandEndText,
  exitCodeStatus,
  failureStatus,
  parseCommandEnd,
  successStatus,
} from '../../src/protocol/exit-status.ts';

const recordedExit =
  '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: command terminated with exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';
const recordedExitByContainerd =
  '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing command [sh -c echo out; echo err \\u003e\\u00262; exit 3], exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';

describe('parseCommandEnd', () => {
  const exit3 = 'command terminated with non-zero exit code: command terminated with exit code 3';
  const cases: [what: string, text: string, want: CommandEnd][] = [
    ['success', '{"status":"Success"}', { kind: 'success' }],
    ['success of the translator', '{"metadata":{},"status":"Success"}', { kind: 'success' }],
    ["kexer's space before it", ' {"status":"Success"}', { kind: 'success' }],
    ['a newline after it', '\n{"status":"Success"}\n', { kind: 'success' }],
    ['a recorded exit code', recordedExit, { kind: 'exit', exitCode: 3, message: exit3 }],
    [
      "containerd's exit code",
      recordedExitByContainerd,
      {
        kind: 'exit',
        exitCode: 3,
        message:
          'command terminated with non-zero exit code: error executing command [sh -c echo out; echo err >&2; exit 3], exit code 3',
      },
    ],
    [
      'an exit code behind another cause',
      '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"X","message":"1"},null,{"reason":"ExitCode","message":"255"}]}}',
      { kind: 'exit', exitCode: 255, message: '' },
    ],
    [
      'a failure',
      '{"status":"Failure","message":"Internal error occurred: x","reason":"InternalError","code":500}',
      { kind: 'failure', message: 'Internal error occurred: x', reason: 'InternalError', code: 500 },
    ],
    ['a bare failure', '{"status":"Failure"}', { kind: 'failure', message: '', reason: '', code: 0 }],
  ];
  for (const [what, text, want] of cases) {
    it(`reads ${what}`, () => {
      expect(parseCommandEnd(Buffer.from(text))).to.deep.equal(want);
    });
  }

  const cause = (message: string): string =>
    `{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":${message}}]}}`;
  for (const text of [
    '',
    ' ',
    '{',
    '{"status":"Succ',
    'null',
    '[]',
    '"Success"',
    '{}',
    '{"status":"success"}',
    '{"status":true}',
    '{"status":"Success"}{"status":"Failure"}',
    'command terminated',
    '{"status":"Failure","reason":"NonZeroExitCode"}',
    '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[]}}',
    '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":{}}}',
    cause('"256"'),
    cause('"0"'),
    cause('"00"'),
    cause('"-1"'),
    cause('""'),
    cause('"1e1"'),
    cause('3'),
  ]) {
    it(`takes ${JSON.stringify(text)} for no status, never for success`, () => {
      let code = 'nothing thrown';
      try {
        parseCommandEnd(Buffer.from(text));
      } catch (error) {
        code = codeOf(error);
      }
      expect(code).to.equal('protocol');
    });
  }
});

describe('statuses as they are written', () => {
  it('equal the recorded and the documented bytes', () => {
    expect(
      [
        successStatus('runtime'),
        successStatus('translator'),
        exitCodeStatus('translator', 3),
        exitCodeStatus('runtime', 3),
        exitCodeStatus('translator', 3, 'error executing command [sh -c echo out; echo err >&2; exit 3], exit code 3'),
        failureStatus('runtime', 'error executing command in container: E'),
        failureStatus('translator', 'E'),
      ].map(String),
    ).to.deep.equal([
      '{"status":"Success"}',
      '{"metadata":{},"status":"Success"}',
      recordedExit,
      recordedExit.replace('"metadata":{},', ''),
      recordedExitByContainerd,
      '{"status":"Failure","message":"Internal error occurred: error executing command in container: E","reason":"InternalError","code":500}',
      '{"metadata":{},"status":"Failure","message":"Internal error occurred: E","reason":"InternalError","details":{"causes":[{"message":"E"}]},"code":500}',
    ]);
  });

  it('are read back', () => {
    expect([
      parseCommandEnd(successStatus('runtime')),
      parseCommandEnd(exitCodeStatus('runtime', 137)).kind,
      parseCommandEnd(failureStatus('translator', 'x')),
    ]).to.deep.equal([
      { kind: 'success' },
      'exit',
      { kind: 'failure', message: 'Internal error occurred: x', reason: 'InternalError', code: 500 },
    ]);
  });

  it('become the text of v1 to v3', () => {
    expect([
      commandEndText({ kind: 'success' }),
      commandEndText(parseCommandEnd(exitCodeStatus('runtime', 3))),
      commandEndText(parseCommandEnd(failureStatus('runtime', 'x'))),
    ]).to.deep.equal([
      '',
      'command terminated with non-zero exit code: command terminated with exit code 3',
      'Internal error occurred: x',
    ]);
  });

  it('become no empty text, which would be success', () => {
    const bareExit =
      '{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';
    expect([
      commandEndText(parseCommandEnd(Buffer.from(bareExit))),
      commandEndText(parseCommandEnd(Buffer.from('{"status":"Failure"}'))),
      commandEndText(parseCommandEnd(Buffer.from('{"status":"Failure","reason":"Timeout"}'))),
    ]).to.deep.equal(['command terminated with exit code 3', 'the command failed', 'the command failed: Timeout']);
  });
});
