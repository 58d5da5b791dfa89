/* What the files of this room share. OpenSSL's headers are included here and in these files only. */
#ifndef OUTRIGGER_TLS_TLS_PRIV_H
#define OUTRIGGER_TLS_TLS_PRIV_H

#include "sidecar/tls/tls_conn.h"
#include "sidecar/tls/tls_ctx.h"
#include "sidecar/tls/tls_material.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct identity {
    X509 *leaf;
    STACK_OF(X509) *chain; /* without the leaf; NULL: there is no more */
    EVP_PKEY *key;
    struct str *names; /* DNS, of the leaf: for the choice by server name */
    unsigned name_count;
};

struct tls_material {
    struct shared shared;
    struct arena *arena;
    struct tls_spec spec;
    struct identity *identities; /* as spec.pairs */
    X509_STORE *store;           /* NULL: no trusted_ca */
    STACK_OF(X509) *authorities; /* of the store, for /certs and the list sent to clients */
    uint8_t (*ticket_keys)[TLS_TICKET_KEY_BYTES];
    unsigned ticket_key_count;
    uint8_t session_context[TLS_DIGEST_BYTES]; /* of all that decides who is let in */
};

/* Why a peer was refused: what is counted, and Envoy's words. */
enum tls_refusal { TLS_PEER_FINE, TLS_PEER_UNVERIFIED, TLS_PEER_WRONG_SAN, TLS_PEER_WRONG_HASH };
struct tls_verdict {
    enum tls_refusal refusal;
    char text[320];
};

/* tls_verify.c: judges the peer's chain in x by the rules of m. expected_dns: the name that the certificate must have besides
 * (auto_san_validation); empty: none. False: refused, with x's error set for the alert. */
bool tls_verify(X509_STORE_CTX *x, const struct tls_material *m, struct str expected_dns, struct tls_verdict *verdict_r);
/* Whether a name of this certificate is pattern as RFC 6125 says, with a wildcard for the whole first label only. */
bool tls_dns_name_match(struct str pattern, struct str name);
/* Calls fn with each subject alternative name of the type, as text, without those that hold a NUL, until it returns true. */
typedef bool tls_san_fn(void *ctx, struct str name);
bool tls_each_san(const X509 *x, enum tls_san_type type, tls_san_fn *fn, void *ctx);
/* All of them, with commas between. */
struct str tls_san_list(const X509 *x, enum tls_san_type type, struct arena *a);

/* tls_material.c */
struct str tls_serial(const X509 *x, struct arena *a); /* lower-case hex */

/* tls_ctx.c: whether OpenSSL takes what the spec says of ciphers, curves and the like. */
bool tls_ctx_check(struct tls_material *m, struct err *err);
/* What a worker has of a context. */
struct tls_slot {
    uint64_t version; /* of the material that this was made from; 0: never */
    struct tls_material *material; /* NULL: none has come yet */
    SSL_CTX *ssl_ctx;
    BIO *bio; /* of all its connections */
    struct saved_session *sessions; /* upstream: a ring of spec.max_sessions */
    uint32_t session_count, session_next;
};
struct tls_slot *tls_ctx_slot(struct tls_ctx *t, unsigned row);
/* The session to offer to this server name, taken out where it may be used once only; NULL: none. */
SSL_SESSION *tls_slot_take_session(struct tls_slot *s, struct str sni);
void tls_slot_add_session(struct tls_slot *s, struct str sni, SSL_SESSION *session);
/* tls_conn.c: what its connections read from and write to; and what OpenSSL calls through tls_ctx.c's callbacks. */
BIO *tls_tx_bio_new(void);
int tls_tx_on_verify(X509_STORE_CTX *x, void *unused);
int tls_tx_on_session(SSL *ssl, SSL_SESSION *session);

/* The first of OpenSSL's queue of errors in its words, and the queue is empty; "no error of OpenSSL's" where it was. */
const char *tls_reason(char *text, size_t cap);

#endif
