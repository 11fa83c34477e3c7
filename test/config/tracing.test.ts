import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { loadConfig } from '../../src/config/load.ts';

async function problemsOf(...argv: string[]): Promise<string[]> {
  try {
    await loadConfig({ argv, environment: {} });
    return [];
  } catch (error) {
    if (!(error instanceof KexerError)) throw error;
    return error.message.split('\n');
  }
}

describe('settings of tracing and of the log', () => {
  it('take what makes sense', async () => {
    const { tracing, log } = await loadConfig({
      argv: ['--tracing-endpoint=https://[::1]:4318/x/v1/traces', '--tracing-sampling-rate-per-million', '1000000'],
      environment: { KEXER_LOG_FORMAT: 'text' },
    });
    expect(tracing).to.deep.equal({
      endpoint: 'https://[::1]:4318/x/v1/traces',
      samplingRatePerMillion: 1_000_000,
    });
    expect(log).to.deep.equal({ level: 'info', format: 'text' });
  });

  const endpoints = [
    'localhost:4317',
    'grpc://otel:4317',
    'http://user:pass@otel',
    'http://otel/?x',
    'http://otel/#x',
    '',
  ];
  for (const endpoint of endpoints) {
    it(`refuse the endpoint ${JSON.stringify(endpoint)}`, async () => {
      const [problem, ...others] = await problemsOf(`--tracing-endpoint=${endpoint}`);
      expect(others).to.deep.equal([]);
      expect(problem).to.match(/^Cannot use --tracing-endpoint: .*, want an http:\/\/ or https:\/\/ URL/);
    });
  }

  it('say nothing of a password in a URL', async () => {
    for (const endpoint of ['http://user:hunter2@otel', 'http://hunter2@otel@x', 'user:hunter2@otel']) {
      const [problem] = await problemsOf(`--tracing-endpoint=${endpoint}`);
      expect(problem).to.match(/^Cannot use --tracing-endpoint: it is "…@(?:otel|x)", want /);
    }
  });

  it('say all that is wrong at once, and what is wanted', async () => {
    expect(
      await problemsOf(
        '--tracing-sampling-rate-per-million=1000001',
        '--log-format=xml',
        '--max-event-loop-delay=soon',
      ),
    ).to.deep.equal([
      'Cannot use --max-event-loop-delay: it is "soon", want a duration such as 15s, 4h or 1m30s, at most 596h',
      'Cannot use --log-format: it is "xml", want one of json, text',
      'Cannot use --tracing-sampling-rate-per-million: it is 1000001, want a whole number from 0 to 1000000',
    ]);
  });
});
