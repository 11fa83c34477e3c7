// When a bearer token expires, as far as it says so itself. A TokenReview tells only that a token is good now; JSON Web Tokens (of service
// accounts and OpenID providers) carry their end in the claim `exp`, other tokens are opaque. Read without a look at the signature: only for
// tokens that were reviewed as a whole.

/** Longer payloads are not looked into. */
const maxPayloadLength = 64 * 1024;

/** Milliseconds since the epoch; undefined: it does not say. */
export function tokenExpiryMs(token: string): number | undefined {
  const [, payload, signature, ...rest] = token.split('.');
  if (payload === undefined || signature === undefined || rest.length > 0) return undefined;
  if (payload.length > maxPayloadLength) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    if (typeof claims !== 'object' || claims === null || !('exp' in claims)) return undefined;
    const { exp } = claims;
    return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : undefined;
  } catch {
    return undefined; // three words with dots between them are no JWT yet
  }
}
