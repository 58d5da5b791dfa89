/* What a secure transport is made of: certificates, keys, authorities and rules, parsed and checked.
 *
 * Made on main from bytes that somebody else read, counted, immutable; may be let go on any thread.
 * A change of a certificate is a new material (tls_ctx_put). */
#ifndef OUTRIGGER_TLS_MATERIAL_H
#define OUTRIGGER_TLS_MATERIAL_H

#include "sidecar/base/arena.h"
#include "sidecar/base/err.h"
#include "sidecar/base/shared.h"
#include "sidecar/match/str_match.h"

enum tls_side { TLS_DOWNSTREAM /* we are the server */, TLS_UPSTREAM };
enum tls_version { TLS_VERSION_DEFAULT, TLS_VERSION_1_0, TLS_VERSION_1_1, TLS_VERSION_1_2, TLS_VERSION_1_3 };

/* A certificate chain, the leaf first, and the leaf's key: PEM. */
struct tls_pair {
    struct str chain, key;
    struct str password; /* of the key; empty: none */
};

enum tls_san_type { TLS_SAN_EMAIL, TLS_SAN_DNS, TLS_SAN_URI, TLS_SAN_IP };
struct tls_san_match {
    enum tls_san_type type;
    struct str_match match; /* its regex is freed with the material */
};

#define TLS_DIGEST_BYTES 32
struct tls_digest {
    uint8_t bytes[TLS_DIGEST_BYTES]; /* SHA-256 */
};

#define TLS_TICKET_KEY_BYTES 80 /* Envoy's: name 16, HMAC 32, AES 32 */

/* All of it lives in the arena that tls_material_new takes. */
struct tls_spec {
    enum tls_side side;
    struct tls_pair *pairs;
    unsigned pair_count;

    struct str trusted_ca, crl; /* PEM; empty: none */
    bool only_leaf_crl, allow_expired, accept_untrusted;
    struct tls_san_match *sans; /* one must match; none: any name will do */
    unsigned san_count;
    struct tls_digest *certificate_hashes, *key_hashes; /* one must match, where any is given */
    unsigned certificate_hash_count, key_hash_count;
    bool require_certificate; /* downstream: of the client */

    enum tls_version min, max; /* DEFAULT: 1.2 to 1.3 downstream; 1.2 upstream */
    struct str ciphers;        /* of TLS 1.2, in OpenSSL's syntax; empty: Envoy's */
    struct str curves, signature_algorithms; /* colon-separated; empty: Envoy's, OpenSSL's */
    struct str *alpn;                        /* downstream in order of preference */
    unsigned alpn_count;

    struct str sni; /* upstream; empty: none is sent */
    uint32_t max_sessions;   /* upstream: how many are kept for resumption; 0: none */
    bool no_tickets;         /* downstream: no stateless resumption */
    bool no_session_ids;     /* downstream: no stateful resumption, which is for TLS 1.2 and older */
    uint32_t session_timeout_s; /* 0: OpenSSL's */
    const uint8_t (*ticket_keys)[TLS_TICKET_KEY_BYTES]; /* the first encrypts; NULL: made here */
    unsigned ticket_key_count;
};

struct tls_material;

/* Takes the arena, also when it fails. NULL with err that names the field of the spec. */
struct tls_material *tls_material_new(const struct tls_spec *spec, struct arena *arena, struct err *err);
struct tls_material *tls_material_ref(struct tls_material *m);
void tls_material_unref(struct tls_material **m); /* fine on NULL */
/* Made of the same certificates, keys and rules. */
bool tls_material_is_same(const struct tls_material *a, const struct tls_material *b);
const struct tls_spec *tls_material_spec(const struct tls_material *m);

/* One certificate of a material, for /certs. */
struct tls_certificate_facts {
    struct str serial; /* lower-case hex */
    struct str names, uris; /* subject alternative names, with commas between */
    bool is_authority;      /* of trusted_ca; else it is ours */
    int64_t not_before_s, not_after_s;
};
unsigned tls_material_certificate_count(const struct tls_material *m);
void tls_material_certificate(const struct tls_material *m, unsigned at, struct arena *a,
                              struct tls_certificate_facts *facts_r);

#endif
