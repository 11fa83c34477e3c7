// docs/install.md, operate.md and troubleshooting.md are held to what is there: sentences to the sources, folders and flags to config/ and
// the settings, links to the pages, the example of a kustomization to kubectl.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';

import { expect } from 'chai';

import { settings } from '../../src/config/settings.ts';
import { ownKustomization } from '../config-manifests/support/clone.ts';
import { filesBelow, find, kustomize, root } from '../config-manifests/support/manifests.ts';
import { complaintsAbout } from '../config-manifests/support/openapi.ts';
import { needsKubectl } from '../support/kubectl.ts';

const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const pages = ['README.md', 'docs/install.md', 'docs/operate.md', 'docs/troubleshooting.md', 'docs/configuration.md'];

/** Sentences of the headings, without those that are said by somebody else. */
function quotedSentences(): string[] {
  return [...read('docs/troubleshooting.md').matchAll(/^### `(.+)`$/gm)].map(([, sentence = '']) => sentence);
}

/** As a heading becomes an anchor on GitHub. */
function anchors(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** Of kubectl, helm, kubelet, kube-apiserver, npm and other commands of kexer; and the slip in configuration.md. */
const foreignFlags =
  'namespace create-namespace set ignore-not-found enable-aggregator-routing cert key user clusterrole requestheader-client-ca-file grace-period ' +
  'server certificate-authority global kubeconfig config context tail timestamps help prefix silent no-headers raw as secure-prot timeout cluster minify';

describe('the pages for operators', () => {
  it('quote only sentences that kexer says', () => {
    const sources = filesBelow('src', '.ts')
      .filter((file) => !file.startsWith('src/sandbox/'))
      .map((file) => read(file).replaceAll(String.raw`\'`, "'"))
      .join('\n');
    const sentences = quotedSentences();
    const missing = sentences.flatMap((sentence) =>
      sentence
        .split('…')
        // Health checks are printed as `[-]NAME failed`.
        .map((part) => part.replace(/^\[-\]|failed$|^; /g, '').trim())
        .filter((part) => part.length > 3 && !sources.includes(part))
        .map((part) => `${sentence}: ${part}`),
    );
    expect(sentences.length).to.be.greaterThan(20);
    expect(missing).to.deep.equal([]);
  });

  for (const page of pages) {
    it(`${page}: every link leads somewhere`, () => {
      const links = [...read(page).matchAll(/\]\((?!https?:)([^)#]*)(#[^)]*)?\)/g)];
      const broken = links.filter(([, target = '', anchor = '']) => {
        const file = target === '' ? page : normalize(join(dirname(page), target));
        if (!existsSync(join(root, file))) return true;
        return anchor !== '' && !anchors(read(file)).includes(anchor.slice(1));
      });
      expect(broken.map(([whole]) => whole)).to.deep.equal([]);
    });

    it(`${page}: every flag and every folder of config/ exists`, () => {
      const text = read(page);
      const flags = new Set(settings.map(({ flag }) => flag));
      const foreign = new Set(foreignFlags.split(' '));
      const named = [...text.matchAll(/(?<![\w-])--([a-z][a-z0-9-]+[a-z0-9])/g)].map(([, flag = '']) => flag);
      expect(named.filter((flag) => !flags.has(flag) && !foreign.has(flag))).to.deep.equal([]);
      const folders = [...text.matchAll(/(?<![\w/.])(config\/[\w/.-]*\w|overlays\/[\w-]+)/g)].map(([, path = '']) =>
        path.startsWith('overlays/') ? `config/${path}` : path,
      );
      expect(folders.filter((path) => path !== 'config/overlays/NAME' && !existsSync(join(root, path)))).to.deep.equal(
        [],
      );
    });
  }

  it('has a row for every overlay, with the value of the chart', () => {
    const rows = [...read('docs/install.md').matchAll(/^\| `([\w-]+)` .*\| `([\w.]+)=/gm)].map(([, name = '']) => name);
    const overlays = filesBelow('config/overlays', 'kustomization.yaml').map((file) => file.split('/')[2] ?? '');
    expect(rows.toSorted()).to.deep.equal(overlays.toSorted());
  });

  describe('the example of an own kustomization', () => {
    let dir: string;

    before(needsKubectl);
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'kexer-own-'));
    });
    afterEach(() => rmSync(dir, { recursive: true }));

    it('builds, is valid, and has what it asks for', async () => {
      const [, example = ''] = /```yaml\n(apiVersion: kustomize[^]*?)```/.exec(read('docs/install.md')) ?? [];
      const manifests = await kustomize(await ownKustomization(dir, example));
      const deployment = JSON.stringify(find(manifests, 'Deployment', 'kexer'));
      expect(manifests.flatMap(complaintsAbout)).to.deep.equal([]);
      for (const part of [
        'registry.example.com/kexer:0.1.0',
        '--cert-extra-sans=kexer.example.com',
        '--identity-impersonation',
      ]) {
        expect(deployment).to.contain(part);
      }
    });
  });
});
