/* Owns what OpenSSL needs beside a connection: a SSL_CTX for each worker and material, made when the worker first needs it, and
 * the sessions of upstreams that may be resumed.
 *
 * Main changes the material under the lock and raises the version; a worker compares versions when a connection begins, and
 * takes the lock only where they differ. A slot belongs to its row alone. Ticket keys and kept sessions stand in the material (tls_tickets,
 * tls_sessions), so a client that comes back to another worker resumes; a new material has new ones, and old sessions end with the
 * certificates that they trusted. */
#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/tls/tls_priv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Envoy's, whose groups of equal preference are what SSL_OP_PRIORITIZE_CHACHA stands for. */
#define CIPHERS                                                                                       \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256:"       \
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define CIPHERSUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CURVES "X25519:P-256"
#define SESSION_TIMEOUT_S 7200
#define VERIFY_DEPTH 100

struct saved_session {
    SSL_SESSION *session;
    char *sni;
};

struct tls_ctx {
    struct shared shared;
    pthread_mutex_t lock;
    struct tls_material *material; /* under the lock */
    _Atomic uint64_t version;      /* raised under it; 0: no material yet */
    unsigned rows;
    struct tls_slot slots[];
};

static unsigned all_rows = 1;

void tls_ctx_set_rows(unsigned rows)
{
    assert(rows > 0);
    all_rows = rows;
}

/* ---- What the spec says, to OpenSSL. ---- */

static int version_of(enum tls_version v, int fallback)
{
    static const int versions[] = {0, TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
    return v == TLS_VERSION_DEFAULT ? fallback : versions[v];
}

static void set_versions(SSL_CTX *c, const struct tls_spec *s)
{
    int min = version_of(s->min, TLS1_2_VERSION);
    int max = version_of(s->max, s->side == TLS_DOWNSTREAM ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_min_proto_version(c, min);
    SSL_CTX_set_max_proto_version(c, max < min ? min : max);
    SSL_CTX_set_security_level(c, min < TLS1_2_VERSION ? 0 : 2); /* the old ones sign with SHA-1 */
}

/* Only what is the name of a cipher: OpenSSL's keywords could switch on some without authentication. */
static bool is_cipher(SSL_CTX *c, const char *name)
{
    if (SSL_CTX_set_cipher_list(c, name) != 1)
        return false;
    const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(c);
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++)
        if (strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(all, i)), name) == 0)
            return true;
    return false;
}

static bool check_ciphers(SSL_CTX *c, struct str list, struct err *err)
{
    struct str name;
    while (str_next(&list, ':', &name)) {
        char text[80];
        snprintf(text, sizeof(text), "%.*s", STR_FMT(name));
        if (name.n >= sizeof(text) || !is_cipher(c, text))
            return err_set(err, "tls_params.cipher_suites: \"%.*s\" is no cipher suite of TLS 1.2 that OpenSSL has", STR_FMT(name));
    }
    ERR_clear_error();
    return true;
}

/* The list functions of OpenSSL 3.0 are macros that cast const away; clang wants it done openly. */
static char *list(const char *p)
{
    return (char *)(uintptr_t)p;
}

static bool set_parameters(SSL_CTX *c, const struct tls_spec *s, struct err *err)
{
    char why[120];
    if (!check_ciphers(c, s->ciphers, err))
        return false;
    if (SSL_CTX_set_cipher_list(c, s->ciphers.n > 0 ? s->ciphers.p : CIPHERS) != 1 ||
        SSL_CTX_set_ciphersuites(c, CIPHERSUITES_13) != 1)
        return err_set(err, "tls_params.cipher_suites: %s", tls_reason(why, sizeof(why)));
    if (SSL_CTX_set1_groups_list(c, list(s->curves.n > 0 ? s->curves.p : CURVES)) != 1)
        return err_set(err, "tls_params.ecdh_curves: OpenSSL does not take \"%.*s\"", STR_FMT(s->curves));
    return s->signature_algorithms.n == 0 || SSL_CTX_set1_sigalgs_list(c, list(s->signature_algorithms.p)) == 1 ||
           err_set(err, "tls_params.signature_algorithms: OpenSSL does not take \"%.*s\"", STR_FMT(s->signature_algorithms));
}

static void set_verification(SSL_CTX *c, const struct tls_material *m)
{
    const struct tls_spec *s = &m->spec;
    bool wants_more = s->san_count + s->certificate_hash_count + s->key_hash_count > 0;
    /* As in Envoy, a name or hash that must fit cannot be missing. */
    bool needed = s->require_certificate || (wants_more && !s->accept_untrusted);
    if (m->store)
        SSL_CTX_set1_cert_store(c, m->store);
    SSL_CTX_set_verify_depth(c, VERIFY_DEPTH);
    SSL_CTX_set_cert_verify_callback(c, tls_tx_on_verify, NULL);
    if (s->side == TLS_UPSTREAM || m->store || wants_more || needed)
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER | (needed ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    for (int i = 0; s->side == TLS_DOWNSTREAM && m->authorities && i < sk_X509_num(m->authorities); i++)
        SSL_CTX_add_client_CA(c, sk_X509_value(m->authorities, i));
}

/* ---- ALPN. ---- */

static struct buf alpn_wire(const struct tls_spec *s)
{
    struct buf b = {0};
    for (unsigned i = 0; i < s->alpn_count; i++) {
        buf_append_byte(&b, (uint8_t)s->alpn[i].n);
        buf_append_str(&b, s->alpn[i]);
    }
    return b;
}

static bool offers(const unsigned char *offered, unsigned n, struct str name)
{
    for (unsigned at = 0; at < n; at += 1u + offered[at])
        if (offered[at] == name.n && at + 1u + name.n <= n && memcmp(offered + at + 1, name.p, name.n) == 0)
            return true;
    return false;
}

/* The first of ours that is offered; none: the handshake goes on without, as in Envoy. */
static int on_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_n, const unsigned char *offered, unsigned n,
                   void *arg)
{
    const struct tls_spec *s = &((const struct tls_material *)arg)->spec;
    (void)ssl;
    for (unsigned i = 0; i < s->alpn_count; i++)
        if (offers(offered, n, s->alpn[i])) {
            *chosen = (const unsigned char *)s->alpn[i].p;
            *chosen_n = (unsigned char)s->alpn[i].n;
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_NOACK;
}

/* ---- Several certificates. ---- */

/* Until TLS 1.2 suites name the kind of key. */
static bool offers_ecdsa_suite(const SSL *ssl)
{
    const STACK_OF(SSL_CIPHER) *all = SSL_get_client_ciphers(ssl);
    for (int i = 0; all && i < sk_SSL_CIPHER_num(all); i++)
        if (SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(all, i)) == NID_auth_ecdsa)
            return true;
    return false;
}

static bool takes_ecdsa(SSL *ssl)
{
    if (SSL_version(ssl) < TLS1_3_VERSION && !offers_ecdsa_suite(ssl))
        return false;
    int count = SSL_get_sigalgs(ssl, 0, NULL, NULL, NULL, NULL, NULL);
    for (int i = 0; i < count; i++) {
        int sign = 0;
        SSL_get_sigalgs(ssl, i, &sign, NULL, NULL, NULL, NULL);
        if (sign == EVP_PKEY_EC)
            return true;
    }
    return false;
}

enum fit { FIT_NONE, FIT_WILD, FIT_EXACT };

static enum fit fit_of(const struct identity *i, struct str sni)
{
    enum fit best = FIT_NONE;
    for (unsigned n = 0; n < i->name_count; n++) {
        if (str_ieq(i->names[n], sni))
            return FIT_EXACT;
        if (tls_dns_name_match(i->names[n], sni))
            best = FIT_WILD;
    }
    return best;
}

/* As Envoy: the best fit to the server name; among equals ECDSA where the client takes it; the first of all where none fits. */
static const struct identity *choose(const struct tls_material *m, struct str sni, bool ecdsa)
{
    const struct identity *best = &m->identities[0];
    unsigned best_score = 0;
    for (unsigned i = 0; i < m->spec.pair_count; i++) {
        const struct identity *id = &m->identities[i];
        unsigned score = 2 * fit_of(id, sni) + (EVP_PKEY_get_base_id(id->key) == EVP_PKEY_EC ? ecdsa : !ecdsa);
        if (score > best_score && score > 1) {
            best = id;
            best_score = score;
        }
    }
    return best;
}

static int on_certificate(SSL *ssl, void *arg)
{
    const struct tls_material *m = arg;
    struct str sni = str_of(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    const struct identity *id = choose(m, sni, takes_ecdsa(ssl));
    SSL_certs_clear(ssl);
    return SSL_use_cert_and_key(ssl, id->leaf, id->key, id->chain, 1);
}

/* ---- The making. ---- */

static bool set_identities(SSL_CTX *c, const struct tls_material *m, struct err *err)
{
    char why[120];
    const struct identity *id = m->identities;
    if (m->spec.pair_count == 0)
        return true;
    if (SSL_CTX_use_cert_and_key(c, id->leaf, id->key, id->chain, 1) != 1)
        return err_set(err, "tls_certificates[0]: OpenSSL does not take it: %s", tls_reason(why, sizeof(why)));
    if (m->spec.pair_count > 1)
        SSL_CTX_set_cert_cb(c, on_certificate, (void *)(uintptr_t)m);
    return true;
}

static void set_server(SSL_CTX *c, const struct tls_material *m)
{
    const struct tls_spec *s = &m->spec;
    if (s->alpn_count > 0)
        SSL_CTX_set_alpn_select_cb(c, on_alpn, (void *)(uintptr_t)m);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    if (!s->no_session_ids)
        tls_sessions_install(c);
    SSL_CTX_set_session_id_context(c, m->session_context, sizeof(m->session_context));
    SSL_CTX_set_timeout(c, s->session_timeout_s > 0 ? (long)s->session_timeout_s : SESSION_TIMEOUT_S);
    if (s->no_tickets) {
        SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(c, 0);
    } else {
        tls_tickets_install(c);
        /* OpenSSL reads the client's certificate once more for each ticket that it stands in. Who has one is another sidecar,
         * which keeps one session by default; browsers get the usual two. */
        if (SSL_CTX_get_verify_mode(c) != SSL_VERIFY_NONE)
            SSL_CTX_set_num_tickets(c, 1);
    }
}

static void set_client(SSL_CTX *c, const struct tls_spec *s)
{
    struct buf wire = alpn_wire(s);
    if (buf_len(&wire) > 0)
        SSL_CTX_set_alpn_protos(c, buf_head(&wire), (unsigned)buf_len(&wire));
    buf_fini(&wire);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    if (s->max_sessions == 0)
        return;
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c, tls_tx_on_session);
}

/* NULL with err. The material outlives it. */
static SSL_CTX *ssl_ctx_new(struct tls_material *m, struct err *err)
{
    bool is_server = m->spec.side == TLS_DOWNSTREAM;
    SSL_CTX *c = SSL_CTX_new_ex(tls_library(), NULL, is_server ? TLS_server_method() : TLS_client_method());
    if (!c)
        die("out of memory, or OpenSSL cannot be set up");
    SSL_CTX_set_app_data(c, m);
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    set_versions(c, &m->spec);
    if (set_parameters(c, &m->spec, err) && set_identities(c, m, err)) {
        set_verification(c, m);
        if (is_server)
            set_server(c, m);
        else
            set_client(c, &m->spec);
        return c;
    }
    SSL_CTX_free(c);
    return NULL;
}

bool tls_ctx_check(struct tls_material *m, struct err *err)
{
    SSL_CTX *c = ssl_ctx_new(m, err);
    SSL_CTX_free(c);
    return c != NULL;
}

/* ---- Sessions of upstreams. ---- */

static void forget(struct saved_session *s)
{
    SSL_SESSION_free(s->session);
    free(s->sni);
    *s = (struct saved_session){0};
}

void tls_slot_add_session(struct tls_slot *s, struct str sni, SSL_SESSION *session)
{
    uint32_t max = s->material->spec.max_sessions;
    if (!s->sessions)
        s->sessions = xcalloc(max, sizeof(*s->sessions));
    struct saved_session *to = &s->sessions[s->session_next];
    forget(to);
    *to = (struct saved_session){session, xmemdup0(sni.p ? sni.p : "", sni.n)};
    s->session_next = (s->session_next + 1) % max;
    if (s->session_count < max)
        s->session_count++;
}

SSL_SESSION *tls_slot_take_session(struct tls_slot *s, struct str sni)
{
    for (uint32_t back = 1; back <= s->session_count; back++) {
        uint32_t max = s->material->spec.max_sessions, at = (s->session_next + max - back) % max;
        struct saved_session *from = &s->sessions[at];
        if (!from->session || !str_eq_c(sni, from->sni))
            continue;
        SSL_SESSION *session = from->session;
        if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) {
            SSL_SESSION_up_ref(session);
            return session;
        }
        from->session = NULL; /* a ticket of TLS 1.3 is for once: two uses could be linked */
        forget(from);
        return session;
    }
    return NULL;
}

/* ---- Slots. ---- */

static void slot_clear(struct tls_slot *s)
{
    for (uint32_t i = 0; i < s->session_count; i++)
        forget(&s->sessions[i]);
    free(s->sessions);
    BIO_free(s->bio);
    SSL_CTX_free(s->ssl_ctx);
    tls_material_unref(&s->material);
    *s = (struct tls_slot){0};
}

struct tls_slot *tls_ctx_slot(struct tls_ctx *t, unsigned row)
{
    assert(row < t->rows);
    struct tls_slot *s = &t->slots[row];
    if (s->version == atomic_load_explicit(&t->version, memory_order_acquire))
        return s;
    slot_clear(s);
    OSSL_LIB_CTX_set0_default(tls_library()); /* of this thread: d2i_SSL_SESSION takes no context from its caller */
    pthread_mutex_lock(&t->lock);
    s->version = atomic_load_explicit(&t->version, memory_order_relaxed);
    s->material = tls_material_ref(t->material);
    pthread_mutex_unlock(&t->lock);
    struct err err = {0};
    s->ssl_ctx = ssl_ctx_new(s->material, &err);
    if (!s->ssl_ctx)
        die("TLS context that was fine on main is refused: %s", err.text);
    s->bio = tls_tx_bio_new();
    return s;
}

/* ---- Life. ---- */

static void free_ctx(struct shared *shared)
{
    struct tls_ctx *t = CONTAINER_OF(shared, struct tls_ctx, shared);
    for (unsigned i = 0; i < t->rows; i++)
        slot_clear(&t->slots[i]);
    tls_material_unref(&t->material);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

struct tls_ctx *tls_ctx_new(struct tls_material *m)
{
    struct tls_ctx *t = xcalloc(1, sizeof(*t) + sizeof(t->slots[0]) * all_rows);
    shared_init(&t->shared, free_ctx);
    pthread_mutex_init(&t->lock, NULL);
    t->rows = all_rows;
    if (m)
        tls_ctx_put(t, m);
    return t;
}

void tls_ctx_put(struct tls_ctx *t, struct tls_material *m)
{
    pthread_mutex_lock(&t->lock);
    struct tls_material *was = t->material;
    t->material = m;
    atomic_fetch_add_explicit(&t->version, 1, memory_order_release);
    pthread_mutex_unlock(&t->lock);
    tls_material_unref(&was);
}

struct tls_material *tls_ctx_material(struct tls_ctx *t)
{
    pthread_mutex_lock(&t->lock);
    struct tls_material *m = t->material ? tls_material_ref(t->material) : NULL;
    pthread_mutex_unlock(&t->lock);
    return m;
}

bool tls_ctx_is_shared(const struct tls_ctx *t)
{
    return atomic_load_explicit(&t->shared.refs, memory_order_acquire) > 1;
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *t)
{
    shared_ref(&t->shared);
    return t;
}

void tls_ctx_unref(struct tls_ctx **t)
{
    struct tls_ctx *was = *t;
    *t = NULL;
    if (was)
        shared_unref(&was->shared);
}
