/* What the files of this room share. OpenSSL's headers are included here and in these files only. */
#ifndef OUTRIGGER_TLS_TLS_PRIV_H
#define OUTRIGGER_TLS_TLS_PRIV_H

#include "sidecar/tls/tls_conn.h"
#include "sidecar/tls/tls_ctx.h"
#include "sidecar/tls/tls_material.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>

struct identity {
    X509 *leaf;
    STACK_OF(X509) *chain; /* without the leaf; NULL: there is no more */
    EVP_PKEY *key;
    struct str *names; /* DNS, of the leaf: for the choice by server name */
    unsigned name_count;
};

#define TLS_TICKET_NAME_BYTES 16
#define TLS_TICKET_KEY_LIFE_S (2 * 24 * 3600)
struct tls_tickets {
    pthread_mutex_t lock;
    uint8_t (*keys)[TLS_TICKET_KEY_BYTES]; /* in an arena; NULL: not made yet */
    unsigned count;
    bool is_generated;
    uint64_t made_s[2]; /* generated: the first, the one before */
};
/* now_s: of a clock that never goes back. The spec's keys, or one that is made here and replaced in time. */
void tls_tickets_init(struct tls_tickets *t, const struct tls_spec *spec, struct arena *arena, uint64_t now_s);
void tls_tickets_fini(struct tls_tickets *t); /* fine on zeroes */
/* Any thread. The key that seals; the one of this name, and its place, 0 being the one that seals, or -1. */
void tls_tickets_first(struct tls_tickets *t, uint64_t now_s, uint8_t *key_r);
int tls_tickets_find(struct tls_tickets *t, const uint8_t *name, uint64_t now_s, uint8_t *key_r);
/* For the context of a server, whose app data is its material. */
void tls_tickets_install(SSL_CTX *c);
/* Whether a session may go on whose peer was looked at then. peer: its certificate; NULL: none. */
bool tls_ticket_is_good(uint64_t looked_at_s, uint64_t now_s, long timeout_s, const X509 *peer);

#define TLS_SESSIONS_MAX 1024
struct tls_sessions {
    pthread_mutex_t lock;
    SSL_SESSION **all; /* a ring; NULL: not made, and in it: free */
    unsigned next;
};
void tls_sessions_init(struct tls_sessions *s);
void tls_sessions_fini(struct tls_sessions *s); /* fine on zeroes */
/* For the context of a server, whose app data is its material. */
void tls_sessions_install(SSL_CTX *c);

struct tls_material {
    struct shared shared;
    struct arena *arena;
    struct tls_spec spec;
    struct identity *identities; /* as spec.pairs */
    X509_STORE *store;           /* NULL: no trusted_ca */
    STACK_OF(X509) *authorities; /* of the store, for /certs and the list sent to clients */
    struct tls_tickets tickets;
    struct tls_sessions sessions;
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

/* The library context of handshakes, made when it is first asked for; NULL: OpenSSL's usual one. Any thread. */
OSSL_LIB_CTX *tls_library(void);

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
