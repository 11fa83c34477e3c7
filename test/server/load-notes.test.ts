import { expect } from 'chai';

import { failure, StatusError } from '../../src/kube/status.ts';
import { LoadNotes } from '../../src/server/load-notes.ts';

describe('LoadNotes', () => {
  it('keeps the last reason of each part, and tells each right that is missing once', () => {
    const told: string[] = [];
    const notes = new LoadNotes({ onMissing: (part, missing) => told.push(`${part}: ${missing}`) });
    expect(notes.reason('nodes')).to.equal('not loaded yet');
    notes.failed('nodes', new Error('refused', { cause: new Error('ECONNREFUSED') }));
    expect(notes.reason('nodes')).to.equal('refused: ECONNREFUSED');
    const message = (verb: string): string =>
      `nodes is forbidden: User "kexer" cannot ${verb} resource "nodes" in API group "" at the cluster scope`;
    for (const verb of ['list', 'list', 'watch', 'list']) {
      notes.failed('nodes', new StatusError(failure(403, 'Forbidden', message(verb))));
    }
    expect(notes.reason('nodes')).to.equal('kexer lacks a right: list nodes');
    expect(told).to.deep.equal(['nodes: kexer lacks a right: list nodes', 'nodes: kexer lacks a right: watch nodes']);
    notes.note('trust', 'it is missing');
    expect([notes.reason('trust'), notes.reason('other')]).to.deep.equal(['it is missing', 'not loaded yet']);
  });
});
