import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { expect } from 'chai';

import { readAnswers, readConnections, recordingsDir, sharedRecordingsDir, streamNames } from './recordings.ts';

describe('recordings', () => {
  it('equal the shared originals, file by file', function () {
    if (!existsSync(sharedRecordingsDir)) this.skip();
    const files = readdirSync(sharedRecordingsDir).filter((file) => file !== 'README.md');
    const differing = files.filter(
      (file) =>
        !existsSync(path.join(recordingsDir, file)) ||
        !readFileSync(path.join(recordingsDir, file)).equals(readFileSync(path.join(sharedRecordingsDir, file))),
    );
    expect({ differing, hasFiles: files.length > 50 }).to.deep.equal({ differing: [], hasFiles: true });
  });

  it('give connections with their heads cut off', () => {
    const [connection, ...others] = readConnections('exec-spdy-exit3');
    expect({
      request: connection!.client.head.split('\r\n')[0],
      response: connection!.kubelet.head.split('\r\n')[0],
      firstBytes: connection!.client.body.toString('hex', 0, 4),
      bodies: Buffer.concat(connection!.client.chunks).equals(connection!.client.body),
      others,
    }).to.deep.equal({
      request:
        'POST /exec/default/tools/tools?command=sh&command=-c&command=echo+out%3B+echo+err+%3E%262%3B+exit+3&error=1&output=1 HTTP/1.1',
      response: 'HTTP/1.1 101 Switching Protocols',
      firstBytes: '80030001',
      bodies: true,
      others: [],
    });
  });

  it('give streams and answers', () => {
    expect([
      streamNames().length,
      readAnswers('apiserver-answers').length,
      readAnswers('kubelet-answers').length,
      readAnswers('kubelet-answers-before-1.36').length,
    ]).to.deep.equal([21, 114, 44, 12]);
  });
});
