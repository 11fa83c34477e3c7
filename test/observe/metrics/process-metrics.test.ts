import { expect } from 'chai';

import { systemClock } from '../../../src/base/clock.ts';
import { exposition } from '../../../src/observe/metrics/exposition.ts';
import { ProcessMetrics } from '../../../src/observe/metrics/process-metrics.ts';
import { Registry } from '../../../src/observe/metrics/registry.ts';
import { parseExposition } from '../support/parse-exposition.ts';

describe('ProcessMetrics', () => {
  it('tells what the system and Node know of this process', async () => {
    const failed: unknown[] = [];
    const registry = new Registry({ onError: (name, error) => void failed.push([name, error]) });
    const metrics = new ProcessMetrics({ clock: systemClock, registry }, { version: '1.2.3' });
    metrics.start();
    try {
      await metrics.refresh();
      const families = parseExposition(exposition(registry.collect(), 'text'), 'text');
      const valueOf = (name: string): number => families.get(name)?.samples[0]?.value ?? Number.NaN;
      expect(failed).to.deep.equal([]);
      const arch = process.arch === 'x64' ? 'amd64' : process.arch;
      const labels = { version: '1.2.3', node: process.versions.node, platform: `${process.platform}/${arch}` };
      expect(families.get('kexer_build_info')?.samples).to.deep.equal([{ name: 'kexer_build_info', labels, value: 1 }]);
      expect(Math.abs(valueOf('process_start_time_seconds') + process.uptime() - Date.now() / 1000)).to.be.below(2);
      expect(valueOf('process_cpu_seconds_total')).to.be.above(0);
      expect(valueOf('process_virtual_memory_bytes')).to.be.above(valueOf('process_resident_memory_bytes'));
      expect(valueOf('process_max_fds')).to.be.above(valueOf('process_open_fds'));
      expect(valueOf('nodejs_heap_size_total_bytes')).to.be.above(valueOf('nodejs_heap_size_used_bytes'));
      expect(valueOf('nodejs_eventloop_lag_max_seconds')).to.be.at.least(valueOf('nodejs_eventloop_lag_p50_seconds'));
      expect(valueOf('kexer_event_loop_active_seconds_total')).to.be.above(0);
    } finally {
      metrics.stop();
    }
  });
});
