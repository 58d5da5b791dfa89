/* Owns the keys that tickets of sessions are sealed with, for all workers: a material's; and says which tickets are good.
 *
 * Keys that the operator gave stay as they are. One that was made here is replaced after two days, as in Envoy, and opens its
 * tickets for two days more: who steals a key reads nothing of what was recorded earlier. The lock is taken for each ticket that
 * is written or opened, once or twice a handshake.
 *
 * A ticket that is used is followed by a new one, so a session could go on for ever: each tells when the peer was last looked at,
 * and is good for the session's time from then on, and while the peer's certificate is. */
#include "sidecar/base/clock.h"
#include "sidecar/base/die.h"
#include "sidecar/tls/tls_priv.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <string.h>

/* ---- Keys. ---- */

static void make_key(uint8_t *key)
{
    if (RAND_bytes(key, TLS_TICKET_KEY_BYTES) != 1)
        die("no randomness for session tickets");
}

void tls_tickets_init(struct tls_tickets *t, const struct tls_spec *spec, struct arena *arena, uint64_t now_s)
{
    pthread_mutex_init(&t->lock, NULL);
    t->is_generated = spec->ticket_key_count == 0;
    t->count = t->is_generated ? 1 : spec->ticket_key_count;
    t->keys = arena_alloc(arena, sizeof(*t->keys) * (t->count + 1)); /* the one before, where it is generated */
    if (t->is_generated)
        make_key(t->keys[0]);
    else
        memcpy(t->keys, spec->ticket_keys, sizeof(*t->keys) * t->count);
    t->made_s[0] = now_s;
}

void tls_tickets_fini(struct tls_tickets *t)
{
    if (!t->keys)
        return;
    OPENSSL_cleanse(t->keys, sizeof(*t->keys) * t->count);
    pthread_mutex_destroy(&t->lock);
}

static void keep_young(struct tls_tickets *t, uint64_t now_s)
{
    if (!t->is_generated)
        return;
    if (now_s >= t->made_s[0] + TLS_TICKET_KEY_LIFE_S) {
        memcpy(t->keys[1], t->keys[0], sizeof(t->keys[1]));
        t->made_s[1] = t->made_s[0];
        make_key(t->keys[0]);
        t->made_s[0] = now_s;
        t->count = 2;
    }
    if (t->count == 2 && now_s >= t->made_s[1] + 2 * TLS_TICKET_KEY_LIFE_S) {
        OPENSSL_cleanse(t->keys[1], sizeof(t->keys[1]));
        t->count = 1;
    }
}

void tls_tickets_first(struct tls_tickets *t, uint64_t now_s, uint8_t *key_r)
{
    pthread_mutex_lock(&t->lock);
    keep_young(t, now_s);
    memcpy(key_r, t->keys[0], TLS_TICKET_KEY_BYTES);
    pthread_mutex_unlock(&t->lock);
}

int tls_tickets_find(struct tls_tickets *t, const uint8_t *name, uint64_t now_s, uint8_t *key_r)
{
    int found = -1;
    pthread_mutex_lock(&t->lock);
    keep_young(t, now_s);
    for (unsigned i = 0; i < t->count && found < 0; i++)
        if (CRYPTO_memcmp(name, t->keys[i], TLS_TICKET_NAME_BYTES) == 0) {
            memcpy(key_r, t->keys[i], TLS_TICKET_KEY_BYTES);
            found = (int)i;
        }
    pthread_mutex_unlock(&t->lock);
    return found;
}

/* ---- Sealing and opening. ---- */

static bool use_ticket_key(const uint8_t *key, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypts)
{
    char digest[] = "SHA256";
    uint8_t hmac[32];
    memcpy(hmac, key + 16, sizeof(hmac));
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac, sizeof(hmac)),
                           OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
    bool ok = EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key + 48, iv, encrypts) == 1 &&
              EVP_MAC_CTX_set_params(mac, params) == 1;
    OPENSSL_cleanse(hmac, sizeof(hmac));
    return ok;
}

/* OpenSSL's numbers: -1 failed, 0 unknown key, 1 fine, 2 fine and to be renewed. Clients use a ticket of TLS 1.3 once, so each
 * that is used is renewed. */
static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                         int encrypts)
{
    struct tls_material *m = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    uint64_t now_s = clock_mono_ns() / 1000000000;
    uint8_t key[TLS_TICKET_KEY_BYTES];
    int at = 0;
    if (encrypts)
        tls_tickets_first(&m->tickets, now_s, key);
    else
        at = tls_tickets_find(&m->tickets, name, now_s, key);
    if (at < 0)
        return 0;
    if (encrypts)
        memcpy(name, key, TLS_TICKET_NAME_BYTES);
    bool ok = (!encrypts || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1) &&
              use_ticket_key(key, iv, cipher, mac, encrypts);
    OPENSSL_cleanse(key, sizeof(key));
    bool renews = at > 0 || SSL_version(ssl) >= TLS1_3_VERSION;
    return !ok ? -1 : renews && !encrypts ? 2 : 1;
}

/* ---- How long. ---- */

/* OpenSSL copies what a session brings along into the one that continues it. */
static int on_ticket_written(SSL *ssl, void *unused)
{
    SSL_SESSION *session = SSL_get0_session(ssl);
    uint64_t now_s = clock_wall_us() / 1000000;
    void *told;
    size_t n;
    (void)unused;
    return (SSL_SESSION_get0_ticket_appdata(session, &told, &n) == 1 && n == sizeof(now_s)) ||
           SSL_SESSION_set1_ticket_appdata(session, &now_s, sizeof(now_s)) == 1;
}

bool tls_ticket_is_good(uint64_t looked_at_s, uint64_t now_s, long timeout_s, const X509 *peer)
{
    time_t now = (time_t)now_s;
    if (looked_at_s > now_s || now_s - looked_at_s > (uint64_t)timeout_s)
        return false;
    return !peer || X509_cmp_time(X509_get0_notAfter(peer), &now) > 0;
}

static bool may_go_on(SSL *ssl, SSL_SESSION *session)
{
    SSL_CTX *c = SSL_get_SSL_CTX(ssl);
    const struct tls_material *m = SSL_CTX_get_app_data(c);
    uint64_t looked_at_s;
    void *told;
    size_t n;
    if (SSL_SESSION_get0_ticket_appdata(session, &told, &n) != 1 || n != sizeof(looked_at_s))
        return false;
    memcpy(&looked_at_s, told, sizeof(looked_at_s));
    return tls_ticket_is_good(looked_at_s, clock_wall_us() / 1000000, SSL_CTX_get_timeout(c),
                              m->spec.allow_expired ? NULL : SSL_SESSION_get0_peer(session));
}

static SSL_TICKET_RETURN on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_bytes,
                                          SSL_TICKET_STATUS status, void *unused)
{
    (void)name;
    (void)name_bytes;
    (void)unused;
    if ((status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) || !may_go_on(ssl, session))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

void tls_tickets_install(SSL_CTX *c)
{
    SSL_CTX_set_tlsext_ticket_key_evp_cb(c, on_ticket_key);
    SSL_CTX_set_session_ticket_cb(c, on_ticket_written, on_ticket_opened, NULL);
}
