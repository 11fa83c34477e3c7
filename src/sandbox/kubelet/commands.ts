// Commands the sandbox brings into its pods: ES modules run by the Node that runs the sandbox. See `KubeletOptions.commands`.

/**
 * `dump [MIB]`: prints a reproducible database dump of exactly MIB mebibytes (64 unless told) and after them, as the last line,
 * `-- sha256: HEX` of everything before it. Written at the reader's pace.
 */
export const dumpCommand = `
import { createHash } from 'node:crypto';
import { writeSync } from 'node:fs';

const total = Number(process.argv[2] ?? 64) * 1024 * 1024;
const hash = createHash('sha256');

function write(bytes) {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if (error.code === 'EPIPE') process.exit(141);
      if (error.code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

// A linear congruential generator: the same rows on every machine.
let seed = 20261120;
function next() {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed;
}

// One block of rows is made once and repeated with its number in front: making every row would be slower than any stream.
const rows = [];
for (let id = 0, length = 0; length < 256 * 1024; id += 1) {
  const row = "INSERT INTO orders VALUES (" + id + ", 'customer-" + (next() % 9973) + "', " + (next() % 100000) / 100 + ", '" + next().toString(16) + next().toString(16) + "');\\n";
  rows.push(row);
  length += row.length;
}
const block = Buffer.from(rows.join(''));

let written = 0;
function put(bytes) {
  const room = total - written;
  // The last row is cut where the size is reached, and still ends its line: so \`head -n -1\` is what the checksum is of.
  const part = bytes.length < room ? bytes : Buffer.concat([bytes.subarray(0, room - 1), Buffer.from('\\n')]);
  hash.update(part);
  write(part);
  written += part.length;
}
put(Buffer.from('-- dump of the sandbox database\\nBEGIN;\\n'));
for (let number = 0; written < total; number += 1) {
  put(Buffer.from('-- block ' + number + '\\n'));
  put(block);
}
write(Buffer.from('-- sha256: ' + hash.digest('hex') + '\\n'));
`;
