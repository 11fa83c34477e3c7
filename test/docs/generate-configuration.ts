// Writes docs/configuration.md: node test/docs/generate-configuration.ts && oxfmt docs/configuration.md

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { complaintAboutMistakes } from './support/mistakes.ts';
import { configurationPage } from './support/configuration-page.ts';

writeFileSync(
  join(import.meta.dirname, '../../docs/configuration.md'),
  configurationPage(await complaintAboutMistakes()),
);
