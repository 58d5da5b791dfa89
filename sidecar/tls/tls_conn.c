/* Owns a connection's SSL and its two ways: raw bytes of the loop's read buffer in, plain ones out; plain ones of a flush in,
 * records out.
 *
 * On the worker's loop. States: handshake, ready, failed; the conn tells when it is over and frees it. OpenSSL reads the bytes
 * of one on_raw through a BIO that ends where they end, and keeps what is left of a record itself, so nothing is left over
 * between two calls. That BIO is one for all connections of a slot, as it keeps nothing: OpenSSL is never inside two of them at
 * once, and `inside` says which. What one flush writes shares records of up to 16 KiB. Bytes of a peer that are no handshake are
 * an error before anything else sees them. */
#include "sidecar/tls/tls_conn.h"

#include "sidecar/base/die.h"
#include "sidecar/observe/families.h"
#include "sidecar/tls/tls_priv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_BYTES SSL3_RT_MAX_PLAIN_LENGTH
#define PLAIN_BYTES (4 * RECORD_BYTES)
/* What a peer may make us answer by protocol messages alone, between two pieces of data. */
#define UNASKED_LIMIT_BYTES 4096

struct tls_tx {
    struct conn *conn;
    SSL *ssl; /* NULL: the context has no material yet */
    struct tls_material *material;
    struct tls_ctx *ctx;
    struct tls_counts counts;
    const uint8_t *in; /* of the on_raw under way */
    size_t in_n;
    struct str expected_dns; /* malloc'd; empty: any */
    bool is_ready, is_failed;
    uint32_t unasked_bytes;
    struct tls_verdict *refused; /* of the peer's certificate */
};

/* Each thread's: used within one call. */
static __thread struct tls_tx *inside;
static __thread uint8_t plain_bytes[PLAIN_BYTES];
static __thread bool plain_is_taken;
static __thread uint8_t record_bytes[RECORD_BYTES];

static void count(const struct tls_tx *tx, enum tls_stat stat)
{
    if (tx->counts.scope)
        stats_inc(tx->counts.scope, tx->counts.row, stat);
}

/* ---- Between OpenSSL and the conn. ---- */

static int bio_read(BIO *bio, char *to, int n)
{
    struct tls_tx *tx = inside;
    size_t part = (size_t)n < tx->in_n ? (size_t)n : tx->in_n;
    BIO_clear_retry_flags(bio);
    if (part == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, tx->in, part);
    tx->in += part;
    tx->in_n -= part;
    return (int)part;
}

static int bio_write(BIO *bio, const char *from, int n)
{
    BIO_clear_retry_flags(bio);
    inside->unasked_bytes += (uint32_t)n;
    conn_transport_send(inside->conn, from, (size_t)n);
    return n;
}

static long bio_ctrl(BIO *bio, int command, long n, void *p)
{
    (void)bio;
    (void)n;
    (void)p;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
    if (!bio_method || !BIO_meth_set_read(bio_method, bio_read) || !BIO_meth_set_write(bio_method, bio_write) ||
        !BIO_meth_set_ctrl(bio_method, bio_ctrl))
        die("OpenSSL cannot be set up");
}

BIO *tls_tx_bio_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = BIO_new(bio_method);
    if (!bio)
        die("out of memory");
    BIO_set_init(bio, 1);
    return bio;
}

/* Before each call of OpenSSL's on a connection. SSL_get_error goes by what is in the queue of errors; emptying it costs more
 * than looking. */
static void enter(struct tls_tx *tx)
{
    inside = tx;
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* ---- Failure. ---- */

/* Envoy's form, which operators search for: BoringSSL's numbers, where they are known, and names. Those of alerts are the same. */
static unsigned long envoy_number(unsigned long code)
{
    static const struct {
        int ours, envoys;
    } others[] = {
        {SSL_R_CERTIFICATE_VERIFY_FAILED, 125}, {SSL_R_WRONG_VERSION_NUMBER, 247}, {SSL_R_HTTP_REQUEST, 156},
        {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, 192}, {SSL_R_NO_SHARED_CIPHER, 184}, {SSL_R_UNSUPPORTED_PROTOCOL, 240},
    };
    int reason = ERR_GET_REASON(code);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i].ours == reason)
            reason = others[i].envoys;
    return 16ul << 24 | (unsigned)reason;
}

static void describe(const struct tls_tx *tx, unsigned long code, char *text, size_t cap)
{
    char name[120];
    const char *reason = ERR_reason_error_string(code);
    snprintf(name, sizeof(name), "%s", reason ? reason : "UNKNOWN");
    for (char *p = name; *p; p++)
        *p = *p == ' ' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    snprintf(text, cap, "TLS_error:|%lu:SSL routines:OPENSSL_internal:%s%s%s:TLS_error_end", envoy_number(code), name,
             tx->refused ? ":" : "", tx->refused ? tx->refused->text : "");
}

static void count_failure(const struct tls_tx *tx, unsigned long code)
{
    static const enum tls_stat of_refusal[] = {
        [TLS_PEER_FINE] = TLS_STAT_FAIL_VERIFY_ERROR,
        [TLS_PEER_UNVERIFIED] = TLS_STAT_FAIL_VERIFY_ERROR,
        [TLS_PEER_WRONG_SAN] = TLS_STAT_FAIL_VERIFY_SAN,
        [TLS_PEER_WRONG_HASH] = TLS_STAT_FAIL_VERIFY_CERT_HASH,
    };
    if (tx->refused)
        count(tx, of_refusal[tx->refused->refusal]);
    else if (ERR_GET_REASON(code) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        count(tx, TLS_STAT_FAIL_VERIFY_NO_CERT);
    else
        count(tx, TLS_STAT_CONNECTION_ERROR);
}

static void fail(struct tls_tx *tx)
{
    char text[600];
    unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (tx->is_failed)
        return;
    tx->is_failed = true;
    describe(tx, code, text, sizeof(text));
    count_failure(tx, code);
    conn_transport_fail(tx->conn, text);
}

static void fail_unasked(struct tls_tx *tx)
{
    tx->is_failed = true;
    count(tx, TLS_STAT_CONNECTION_ERROR);
    conn_transport_fail(tx->conn, "TLS_error: too many protocol messages without data");
}

/* ---- The peer's certificate, and sessions. ---- */

int tls_tx_on_verify(X509_STORE_CTX *x, void *unused)
{
    struct tls_tx *tx = inside;
    struct tls_verdict verdict;
    (void)unused;
    if (tls_verify(x, tx->material, tx->expected_dns, &verdict))
        return 1;
    if (!tx->refused)
        tx->refused = NEW(struct tls_verdict);
    *tx->refused = verdict;
    return 0;
}

int tls_tx_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_tx *tx = inside;
    assert(tx->ssl == ssl);
    struct tls_slot *slot = tls_ctx_slot(tx->ctx, tx->counts.row);
    if (slot->material != tx->material)
        return 0; /* its rules are no more in force */
    tls_slot_add_session(slot, str_of(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)), session);
    return 1;
}

/* ---- The handshake. ---- */

static void on_handshake_done(struct tls_tx *tx)
{
    tx->is_ready = true;
    tx->unasked_bytes = 0;
    count(tx, TLS_STAT_HANDSHAKE);
    if (SSL_session_reused(tx->ssl))
        count(tx, TLS_STAT_SESSION_REUSED);
    if (!SSL_get0_peer_certificate(tx->ssl))
        count(tx, TLS_STAT_NO_CERTIFICATE);
    conn_transport_ready(tx->conn);
}

static void shake_hands(struct tls_tx *tx)
{
    enter(tx);
    int rc = SSL_do_handshake(tx->ssl);
    if (rc == 1)
        on_handshake_done(tx);
    else if (SSL_get_error(tx->ssl, rc) != SSL_ERROR_WANT_READ)
        fail(tx);
}

static void on_start(struct conn *c, void *arg)
{
    struct tls_tx *tx = arg;
    if (!tx->ssl) {
        tx->is_failed = true;
        conn_transport_fail(c, "TLS error: Secret is not supplied by SDS");
        return;
    }
    shake_hands(tx);
}

/* ---- In. ---- */

/* Decrypts until the bytes of this on_raw are used up, or the buffer is full. SSL_ERROR_NONE: it is full. */
static int fill_plain(struct tls_tx *tx, size_t *filled_r)
{
    size_t filled = 0;
    int error = SSL_ERROR_NONE;
    enter(tx);
    while (PLAIN_BYTES - filled >= RECORD_BYTES) {
        if (tx->in_n == 0 && !SSL_has_pending(tx->ssl)) {
            error = SSL_ERROR_WANT_READ; /* asking would cost it a buffer */
            break;
        }
        int n = SSL_read(tx->ssl, plain_bytes + filled, RECORD_BYTES);
        if (n <= 0) {
            error = SSL_get_error(tx->ssl, n);
            break;
        }
        filled += (size_t)n;
    }
    *filled_r = filled;
    return error;
}

static void read_plain(struct conn *c, struct tls_tx *tx)
{
    int error = SSL_ERROR_NONE;
    assert(!plain_is_taken);
    plain_is_taken = true;
    while (error == SSL_ERROR_NONE && !tx->is_failed) {
        size_t n;
        error = fill_plain(tx, &n);
        if (n > 0) {
            tx->unasked_bytes = 0;
            conn_transport_deliver(c, plain_bytes, n);
        }
    }
    plain_is_taken = false;
    if (error == SSL_ERROR_ZERO_RETURN)
        conn_transport_eof(c);
    else if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_NONE)
        fail(tx);
    else if (tx->unasked_bytes > UNASKED_LIMIT_BYTES && !tx->is_failed)
        fail_unasked(tx);
}

static void on_raw(struct conn *c, void *arg, uint8_t *data, size_t n)
{
    struct tls_tx *tx = arg;
    if (tx->is_failed)
        return;
    tx->in = data;
    tx->in_n = n;
    if (!tx->is_ready)
        shake_hands(tx);
    if (tx->is_ready && !tx->is_failed)
        read_plain(c, tx);
    tx->in = NULL;
    tx->in_n = 0;
}

/* ---- Out. ---- */

static void encrypt(struct tls_tx *tx, const uint8_t *p, size_t n)
{
    while (n > 0 && !tx->is_failed) {
        enter(tx);
        int done = SSL_write(tx->ssl, p, n > RECORD_BYTES ? RECORD_BYTES : (int)n);
        if (done <= 0) {
            fail(tx);
            return;
        }
        p += done;
        n -= (size_t)done;
    }
}

/* Pieces share records; what fills one by itself is not copied. */
static void add_piece(struct tls_tx *tx, const uint8_t *p, size_t n, size_t *filled)
{
    while (n > 0) {
        size_t part = n < RECORD_BYTES - *filled ? n : RECORD_BYTES - *filled;
        if (part == RECORD_BYTES) {
            encrypt(tx, p, part);
        } else {
            memcpy(record_bytes + *filled, p, part);
            *filled += part;
        }
        if (*filled == RECORD_BYTES) {
            encrypt(tx, record_bytes, RECORD_BYTES);
            *filled = 0;
        }
        p += part;
        n -= part;
    }
}

static void on_write(struct conn *c, void *arg, const struct iovec *iov, unsigned count_of_parts)
{
    struct tls_tx *tx = arg;
    size_t filled = 0;
    (void)c;
    for (unsigned i = 0; i < count_of_parts; i++)
        add_piece(tx, iov[i].iov_base, iov[i].iov_len, &filled);
    encrypt(tx, record_bytes, filled);
    tx->unasked_bytes = 0;
}

static void on_shutdown(struct conn *c, void *arg)
{
    struct tls_tx *tx = arg;
    (void)c;
    if (!tx->is_ready || tx->is_failed)
        return;
    enter(tx);
    SSL_shutdown(tx->ssl);
}

/* ---- Life. ---- */

static struct str on_alpn(void *arg)
{
    const struct tls_tx *tx = arg;
    const unsigned char *name = NULL;
    unsigned n = 0;
    if (tx->ssl)
        SSL_get0_alpn_selected(tx->ssl, &name, &n);
    return str_n((const char *)name, n);
}

static void on_free(void *arg)
{
    struct tls_tx *tx = arg;
    SSL_free(tx->ssl);
    tls_material_unref(&tx->material);
    tls_ctx_unref(&tx->ctx);
    free(tx->refused);
    free((void *)(uintptr_t)tx->expected_dns.p);
    free(tx);
}

static const struct transport tls_transport = {on_start, on_raw, on_write, on_shutdown, on_alpn, on_free};

static struct tls_tx *tx_new(struct conn *c, struct tls_ctx *ctx, struct tls_counts counts)
{
    struct tls_tx *tx = NEW(struct tls_tx);
    const struct tls_slot *slot = ctx ? tls_ctx_slot(ctx, counts.row) : NULL;
    tx->conn = c;
    tx->counts = counts;
    if (!slot || !slot->material)
        return tx;
    tx->ctx = tls_ctx_ref(ctx);
    tx->material = tls_material_ref(slot->material);
    tx->ssl = SSL_new(slot->ssl_ctx);
    if (!tx->ssl)
        die("out of memory");
    BIO_up_ref(slot->bio);
    SSL_set_bio(tx->ssl, slot->bio, slot->bio);
    return tx;
}

void tls_conn_accept(struct conn *c, struct tls_ctx *ctx, struct tls_counts counts)
{
    struct tls_tx *tx = tx_new(c, ctx, counts);
    if (tx->ssl)
        SSL_set_accept_state(tx->ssl);
    conn_set_transport(c, &tls_transport, tx);
}

static void prepare_client(struct tls_tx *tx, const struct tls_target *target)
{
    struct str sni = target->sni.n > 0 ? target->sni : tx->material->spec.sni;
    char *name = xmemdup0(sni.p ? sni.p : "", sni.n);
    SSL_set_connect_state(tx->ssl);
    if (sni.n > 0)
        SSL_set_tlsext_host_name(tx->ssl, name);
    SSL_SESSION *session = tls_slot_take_session(tls_ctx_slot(tx->ctx, tx->counts.row), sni);
    if (session) {
        SSL_set_session(tx->ssl, session);
        SSL_SESSION_free(session);
    }
    if (target->alpn_wire.n > 0 && tx->material->spec.alpn_count == 0)
        SSL_set_alpn_protos(tx->ssl, (const unsigned char *)target->alpn_wire.p, (unsigned)target->alpn_wire.n);
    if (target->verify_sni)
        tx->expected_dns = (struct str){name, sni.n};
    else
        free(name);
}

void tls_conn_connect(struct conn *c, struct tls_ctx *ctx, const struct tls_target *target, struct tls_counts counts)
{
    struct tls_tx *tx = tx_new(c, ctx, counts);
    if (tx->ssl)
        prepare_client(tx, target);
    conn_set_transport(c, &tls_transport, tx);
}

/* ---- What others ask. ---- */

/* RFC 2253, as Envoy prints names. */
static struct str name_text(const X509_NAME *name, struct arena *a)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (!bio || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) < 0)
        die("out of memory");
    long n = BIO_get_mem_data(bio, &text);
    struct str s = arena_str(a, str_n(text, (size_t)n));
    BIO_free(bio);
    return s;
}

static struct str hex(const uint8_t *p, size_t n, struct arena *a)
{
    char *text = arena_alloc(a, 2 * n + 1);
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", p[i]);
    return str_n(text, 2 * n);
}

static void add_peer(struct tls_facts *f, const X509 *x, struct arena *a)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    f->peer_subject = name_text(X509_get_subject_name(x), a);
    f->peer_issuer = name_text(X509_get_issuer_name(x), a);
    f->peer_serial = tls_serial(x, a);
    f->peer_uris = tls_san_list(x, TLS_SAN_URI, a);
    f->peer_names = tls_san_list(x, TLS_SAN_DNS, a);
    f->peer_emails = tls_san_list(x, TLS_SAN_EMAIL, a);
    f->peer_ips = tls_san_list(x, TLS_SAN_IP, a);
    if (X509_digest(x, EVP_sha256(), digest, &n) == 1)
        f->peer_fingerprint_256 = hex(digest, n, a);
}

static void add_local(struct tls_facts *f, const X509 *x, struct arena *a)
{
    f->local_subject = name_text(X509_get_subject_name(x), a);
    f->local_uris = tls_san_list(x, TLS_SAN_URI, a);
    f->local_names = tls_san_list(x, TLS_SAN_DNS, a);
}

const struct tls_facts *tls_conn_facts(const struct conn *c, struct arena *a)
{
    const struct tls_tx *tx = conn_transport_tx(c, &tls_transport);
    if (!tx || !tx->is_ready)
        return NULL;
    struct tls_facts *f = ARENA_NEW(a, struct tls_facts);
    const SSL_SESSION *session = SSL_get0_session(tx->ssl);
    const X509 *peer = SSL_get0_peer_certificate(tx->ssl), *own = SSL_get_certificate(tx->ssl);
    unsigned n = 0;
    const unsigned char *id = session ? SSL_SESSION_get_id(session, &n) : NULL;
    f->version = str_of(SSL_get_version(tx->ssl));
    f->cipher = str_of(SSL_get_cipher_name(tx->ssl));
    f->session_id = hex(id, n, a);
    f->server_name = arena_str(a, str_of(SSL_get_servername(tx->ssl, TLSEXT_NAMETYPE_host_name)));
    if (peer)
        add_peer(f, peer, a);
    if (own)
        add_local(f, own, a);
    return f;
}
