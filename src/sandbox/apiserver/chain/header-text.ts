// Header values are bytes: Node shows each as a character, Kubernetes reads them as UTF-8.

/** What Go takes the value for. */
export function textOfHeader(value: string): string {
  return Buffer.from(value, 'latin1').toString('utf8');
}

/** The value that Go would write for the text. */
export function headerOfText(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
