// What is shown of commands and what is not: a table of forms people use, a property over random secrets in them, and bounds of time for
// texts and patterns that would take a backtracking engine forever.

import { expect } from 'chai';
import fc from 'fast-check';

import { KexerError } from '../../src/base/errors.ts';
import { Redactor } from '../../src/observe/redact.ts';
import { isSecretName } from '../../src/observe/redaction/secret-name.ts';
import { queryEscape } from '../../src/protocol/query.ts';

const redactor = new Redactor({ commands: 'redacted', patterns: [] });

describe('Redactor.command', () => {
  const cases: readonly (readonly [command: readonly string[], shown: readonly string[]])[] = [
    [
      ['mysqldump', '--password=geheim', 'db'],
      ['mysqldump', '--password=[redacted]', 'db'],
    ],
    [
      ['mysqldump', '--password', 'geheim', 'db'],
      ['mysqldump', '--password', '[redacted]', 'db'],
    ],
    [
      ['mysqldump', '-pgeheim', '-u', 'root', 'db'],
      ['mysqldump', '-p[redacted]', '-u', 'root', 'db'],
    ],
    [
      ['mysql', '-ptopsecret', '-h', 'x'],
      ['mysql', '-p[redacted]', '[redacted]', 'x'],
    ],
    [
      ['mysql', '-psec=ret', '-h', 'x'],
      ['mysql', '-p[redacted]', '-h', 'x'],
    ],
    [
      ['mongodump', '-p', 'geheim', '--db', 'x'],
      ['mongodump', '-p', '[redacted]', '--db', 'x'],
    ],
    [
      ['env', 'PGPASSWORD=a b', 'psql', '-p', '5432'],
      ['env', 'PGPASSWORD=[redacted]', 'psql', '-p', '5432'],
    ],
    [
      ['/usr/bin/redis-cli', '-p', '6379', '-a', 'geheim'],
      ['/usr/bin/redis-cli', '-p', '6379', '-a', '[redacted]'],
    ],
    [
      ['curl', '-u', 'bob:geheim', 'http://x'],
      ['curl', '-u', 'bob:[redacted]', 'http://x'],
    ],
    [
      ['curl', '--user=bob:geheim', 'http://x'],
      ['curl', '--user=bob:[redacted]', 'http://x'],
    ],
    [
      ['smbclient', '-U', 'bob%geheim', '//x/y'],
      ['smbclient', '-U', 'bob%[redacted]', '//x/y'],
    ],
    [
      ['ldapsearch', '-w', 'geheim', '-x'],
      ['ldapsearch', '-w', '[redacted]', '-x'],
    ],
    [
      ['curl', '-H', 'Authorization: Bearer geheim'],
      ['curl', '-H', 'Authorization: [redacted]'],
    ],
    [
      ['curl', '-H', 'X-Api-Key: geheim'],
      ['curl', '-H', 'X-Api-Key: [redacted]'],
    ],
    [
      ['psql', 'postgres://bob:geheim@db/x?sslmode=require'],
      ['psql', 'postgres://[redacted]@db/x?sslmode=require'],
    ],
    [
      ['psql', 'host=db user=bob password=geheim'],
      ['psql', 'host=db user=bob password=[redacted]'],
    ],
    [
      ['curl', 'https://x/?a=1&access_token=geheim&b=2'],
      ['curl', 'https://x/?a=1&access_token=[redacted]&b=2'],
    ],
    [
      ['curl', '-d', '{"user":"bob","password":"ge\\"heim","x":1}'],
      ['curl', '-d', '{"user":"bob","password":"[redacted]","x":1}'],
    ],
    [
      ['java', '-Dspring.datasource.password=geheim'],
      ['java', '-Dspring.datasource.password=[redacted]'],
    ],
    [
      ['openssl', 'enc', '-pass', 'pass:geheim'],
      ['openssl', 'enc', '-pass', '[redacted]'],
    ],
    [
      ['vault', 'login', 'hvs.geheim'],
      ['vault', 'login', '[redacted]'],
    ],
    [
      ['mysql', '-e', "CREATE USER x IDENTIFIED BY 'geheim'; SELECT 1"],
      ['mysql', '-e', "CREATE USER x IDENTIFIED BY '[redacted]'; SELECT 1"],
    ],
    [
      ['sh', '-c', 'PGPASSWORD=geheim pg_dump -p 5432 db | gzip; echo done'],
      ['sh', '-c', 'PGPASSWORD=[redacted] pg_dump -p 5432 db | gzip; echo done'],
    ],
    [
      ['bash', '-ec', 'mysqldump --password="ge heim" -h db && curl -u a:geheim http://x'],
      ['bash', '-ec', 'mysqldump --password=[redacted] -h db && curl -u a:[redacted] http://x'],
    ],
    [
      ['sh', '-c', 'sh -c "mysql -pgeheim db"'],
      ['sh', '-c', 'sh -c "mysql -p[redacted] db"'],
    ],
    [
      ['sh', '-c', 'echo "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----" > k'],
      ['sh', '-c', 'echo "-----BEGIN RSA PRIVATE KEY-----[redacted]-----END RSA PRIVATE KEY-----" > k'],
    ],
    [
      ['x', 'eyJhbGciOiJub25lIn0.e30.sig'],
      ['x', '[redacted]'],
    ],
  ];
  for (const [command, shown] of cases) {
    it(`shows ${JSON.stringify(shown)}`, () => {
      expect(redactor.command(command)).to.deep.equal(shown);
    });
  }

  it('leaves alone what is no secret', () => {
    const open: readonly (readonly string[])[] = [
      ['ls', '-la', '/run/secrets'],
      ['mkdir', '-p', '/backup/2026'],
      ['tar', '-cpf', '-', '/data'],
      ['psql', '-p', '5432', '-U', 'bob', '-c', 'select 1'],
      ['cat', '/etc/passwd'],
      ['mysql', '--password-file=/etc/p', '--no-password'],
      ['sort', '--key=2'],
      ['ssh', '-p', '22', 'host'],
      ['sh', '-c', 'for i in 1 2; do echo $i; done > /tmp/x 2>&1'],
      ['kubectl', 'get', 'secret', 'db'],
      ['curl', 'https://x/a?b=c#d'],
      [],
    ];
    for (const command of open) expect(redactor.command(command)).to.deep.equal(command);
  });

  // No character that would end a word, a value or a URL, and long enough not to stand there by chance.
  const secrets = fc.stringMatching(/^[A-Za-z0-9!#$%+*~.,_-]{9,30}$/);
  const forms: readonly ((secret: string) => readonly string[])[] = [
    (secret) => ['mysql', `--password=${secret}`],
    (secret) => ['mysql', '--password', secret],
    (secret) => ['mysql', `-p${secret}`, 'db'],
    (secret) => ['unknown', '-p', secret],
    (secret) => ['unknown', `-p${secret}`],
    (secret) => ['tool', `--db-pass=${secret}`],
    (secret) => ['tool', '--api-token', secret],
    (secret) => ['tool', '-token', secret],
    (secret) => ['env', `PASSWORD=${secret}`, 'x'],
    (secret) => ['env', `AWS_SECRET_ACCESS_KEY=${secret}`, 'x'],
    (secret) => ['redis-cli', '-a', secret],
    (secret) => ['curl', '-u', `bob:${secret}`],
    (secret) => ['curl', `-ubob:${secret}`],
    (secret) => ['curl', '-H', `Authorization: Bearer ${secret}`],
    (secret) => ['curl', '-H', `X-Auth-Token:${secret}`],
    (secret) => ['psql', `postgres://bob:${secret.replaceAll('#', '')}@db/x`],
    (secret) => ['sh', '-c', `PGPASSWORD='${secret}' pg_dump`],
    (secret) => ['sh', '-c', `true; mysql -p"${secret}" db && echo`],
    (secret) => ['sh', '-c', `mysql --password '${secret}'`],
    (secret) => ['curl', '-d', JSON.stringify({ password: secret })],
  ];
  it('takes what begins like the name of a flag for a password behind -p', () => {
    expect(redactor.command(['unknown', '-pw%.,-.+-~+']).join(' ')).not.to.contain('w%');
  });

  it('never shows a secret given in a known form, also in the query of a request', () => {
    fc.assert(
      fc.property(fc.constantFrom(...forms), secrets, (form, secret) => {
        const command = form(secret);
        const bare = secret.replaceAll('#', '');
        const query = command.map((word) => `command=${queryEscape(word)}`).join('&');
        const target = redactor.target(`/exec?${query}`);
        expect(redactor.command(command).join(' ')).not.to.contain(bare);
        expect(decodeURIComponent(target)).not.to.contain(bare);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps the number of words and never fails, whatever they are', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 40 }), { maxLength: 8 }), (words) => {
        expect(redactor.command(words)).to.have.length(words.length);
      }),
      { numRuns: 300 },
    );
  });

  it('takes time in proportion to the length, whatever a user sends', () => {
    const pieces = ['a=', 'password=', '://', 'a://b@', 'eyJ.', '-----BEGIN ', '"', '\\"', "'", 'bearer ', '{', '$('];
    for (const piece of pieces) {
      const text = piece.repeat(65_536 / piece.length);
      const before = process.cpuUsage();
      redactor.command(['sh', '-c', text]);
      redactor.command([text]);
      // Of the processor, whatever else the machine does. In proportion to its square it would be minutes.
      expect(process.cpuUsage(before).user / 1000, piece).to.be.lessThan(2000);
    }
  });

  it('leaves arguments out where it is told to', () => {
    const command = ['sh', '-c', 'secret things'];
    const program = new Redactor({ commands: 'program', patterns: [] });
    const none = new Redactor({ commands: 'none', patterns: [] });
    expect([program.command(command), program.command(['id']), none.command(command)]).to.deep.equal([
      ['sh', '[redacted]'],
      ['id'],
      [],
    ]);
    expect([
      program.target('/exec?command=sh&command=-c&container=a'),
      none.target('/exec?command=sh&command=-c&container=a'),
    ]).to.deep.equal([
      '/exec?command=sh&command=%5Bredacted%5D&container=a',
      '/exec?command=%5Bredacted%5D&command=%5Bredacted%5D&container=a',
    ]);
  });
});

describe('Redactor.target', () => {
  it('changes only what it redacts', () => {
    const targets: readonly (readonly [target: string, shown: string])[] = [
      ['/api/v1/pods?watch=true&labelSelector=a%3Db', '/api/v1/pods?watch=true&labelSelector=a%3Db'],
      ['/x/exec?command=l%73&command=-la&tty=1', '/x/exec?command=l%73&command=-la&tty=1'],
      ['/x/exec?command=mysql&command=-pabc', '/x/exec?command=mysql&command=-p%5Bredacted%5D'],
      ['/x/exec?c%6fmmand=--password=abc', '/x/exec?c%6fmmand=--password%3D%5Bredacted%5D'],
      ['/x/exec?COMMAND=--password=abc', '/x/exec?COMMAND=--password%3D%5Bredacted%5D'],
      ['/x/exec?command=%zzsecret&command=a;b', '/x/exec?command=%5Bredacted%5D&command=%5Bredacted%5D'],
      ['/proxy/login?user=bob&password=abc&token=', '/proxy/login?user=bob&password=%5Bredacted%5D&token='],
      ['/no/query', '/no/query'],
      ['/empty?', '/empty?'],
    ];
    expect(targets.map(([target]) => redactor.target(target))).to.deep.equal(targets.map(([, shown]) => shown));
  });
});

describe('patterns of the operator', () => {
  it('replace their groups, or all they match, within words and across them', () => {
    const own = new Redactor({
      commands: 'redacted',
      patterns: ['^--license=(.*)$', 'key-\\d+', String.raw`^--seed\n(.*)$`],
    });
    expect(own.command(['tool', '--license=abc', 'x-key-123-y', '--seed', 'abc', 'open'])).to.deep.equal([
      'tool',
      '--license=[redacted]',
      'x-[redacted]-y',
      '--seed',
      '[redacted]',
      'open',
    ]);
  });

  it('that backtrack without end are stopped, and nothing of the command is shown', () => {
    let slow = 0;
    const own = new Redactor({ commands: 'redacted', patterns: ['(a+)+$'], onSlowPattern: () => (slow += 1) });
    const before = process.cpuUsage();
    expect(own.command(['x', `${'a'.repeat(60)}!`])).to.deep.equal(['[redacted]', '[redacted]']);
    expect({ slow, isQuick: process.cpuUsage(before).user / 1000 < 2000 }).to.deep.equal({ slow: 1, isQuick: true });
    expect(own.command(['x', 'baa'])).to.deep.equal(['x', 'b[redacted]']);
  });

  it('that are none, or match nothing at all, are refused', () => {
    for (const pattern of ['(', 'a*', '']) {
      expect(() => new Redactor({ commands: 'redacted', patterns: [pattern] }), pattern).to.throw(KexerError);
    }
  });
});

describe('isSecretName', () => {
  it('knows the names people give to secrets', () => {
    const secret = ['password', 'PGPASSWORD', 'MYSQL_PWD', 'REDISCLI_AUTH', 'keyStorePassword', 'x-api-key', 'db.pass'];
    const more = ['GITHUB_TOKEN', 'SSHPASS', 'encryption-key', 'Set-Cookie', 'X-Amz-Signature', 'client_secret'];
    const open = ['path', 'user', 'author', 'key', 'sort-key', 'public-key', 'password-file', 'no-password', ''];
    expect([...secret, ...more].filter((name) => !isSecretName(name))).to.deep.equal([]);
    expect(open.filter(isSecretName)).to.deep.equal([]);
  });
});
