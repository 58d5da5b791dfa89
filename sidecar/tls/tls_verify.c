/* Judges certificates of peers: the chain by OpenSSL, then names and hashes by the operator's rules. Any thread; owns nothing.
 *
 * Names are compared with their length counted: one that holds a NUL is passed over, whatever stands in front of it. */
#include "sidecar/base/buf.h"
#include "sidecar/base/die.h"
#include "sidecar/tls/tls_priv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* ---- Subject alternative names. ---- */

static const int general_types[] = {
    [TLS_SAN_EMAIL] = GEN_EMAIL, [TLS_SAN_DNS] = GEN_DNS, [TLS_SAN_URI] = GEN_URI, [TLS_SAN_IP] = GEN_IPADD};

static struct str raw_text(const GENERAL_NAME *g)
{
    const ASN1_STRING *s = g->type == GEN_IPADD ? g->d.iPAddress : g->d.ia5;
    return (struct str){(const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s)};
}

static struct str name_text(const GENERAL_NAME *g, char *ip, socklen_t ip_cap)
{
    struct str raw = raw_text(g);
    if (g->type != GEN_IPADD)
        return raw.n > 0 && !memchr(raw.p, 0, raw.n) ? raw : STR_NONE;
    int family = raw.n == 4 ? AF_INET : AF_INET6;
    if ((raw.n != 4 && raw.n != 16) || !inet_ntop(family, raw.p, ip, ip_cap))
        return STR_NONE;
    return str_of(ip);
}

bool tls_each_san(const X509 *x, enum tls_san_type type, tls_san_fn *fn, void *ctx)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    bool done = false;
    for (int i = 0; !done && names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        char ip[INET6_ADDRSTRLEN];
        struct str text = g->type == general_types[type] ? name_text(g, ip, sizeof(ip)) : STR_NONE;
        done = text.n > 0 && fn(ctx, text);
    }
    GENERAL_NAMES_free(names);
    return done;
}

static bool append_name(void *ctx, struct str name)
{
    struct buf *b = ctx;
    if (buf_len(b) > 0)
        buf_append_byte(b, ',');
    buf_append_str(b, name);
    return false;
}

struct str tls_san_list(const X509 *x, enum tls_san_type type, struct arena *a)
{
    struct buf b = {0};
    tls_each_san(x, type, append_name, &b);
    struct str all = arena_str(a, buf_str(&b));
    buf_fini(&b);
    return all;
}

bool tls_dns_name_match(struct str pattern, struct str name)
{
    if (!str_has_prefix(pattern, STR("*.")))
        return pattern.n > 0 && str_ieq(pattern, name);
    ptrdiff_t dot = str_index(name, '.', 0);
    return dot > 0 && str_ieq(str_sub(pattern, 1, pattern.n), str_sub(name, (size_t)dot, name.n));
}

static bool fits_rule(void *ctx, struct str name)
{
    const struct tls_san_match *rule = ctx;
    bool by_label = rule->type == TLS_SAN_DNS && rule->match.kind == STR_MATCH_EXACT;
    return by_label ? tls_dns_name_match(name, rule->match.text) : str_match(&rule->match, name);
}

static bool is_called(void *ctx, struct str name)
{
    const struct str *expected = ctx;
    return tls_dns_name_match(name, *expected);
}

static bool has_wanted_name(const X509 *leaf, const struct tls_spec *s, struct str expected_dns)
{
    if (expected_dns.n > 0 && !tls_each_san(leaf, TLS_SAN_DNS, is_called, &expected_dns))
        return false;
    for (unsigned i = 0; i < s->san_count; i++)
        if (tls_each_san(leaf, s->sans[i].type, fits_rule, &s->sans[i]))
            return true;
    return s->san_count == 0;
}

/* ---- Hashes. ---- */

static bool is_among(const struct tls_digest *all, unsigned count, const uint8_t *digest)
{
    for (unsigned i = 0; i < count; i++)
        if (memcmp(all[i].bytes, digest, TLS_DIGEST_BYTES) == 0)
            return true;
    return false;
}

static bool has_wanted_hash(const X509 *leaf, const struct tls_spec *s)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned char *key = NULL;
    if (s->certificate_hash_count + s->key_hash_count == 0)
        return true;
    if (s->certificate_hash_count > 0 && X509_digest(leaf, EVP_sha256(), digest, NULL) == 1 &&
        is_among(s->certificate_hashes, s->certificate_hash_count, digest))
        return true;
    int n = s->key_hash_count > 0 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &key) : 0;
    bool found = n > 0 && EVP_Digest(key, (size_t)n, digest, NULL, EVP_sha256(), NULL) == 1 &&
                 is_among(s->key_hashes, s->key_hash_count, digest);
    OPENSSL_free(key);
    return found;
}

/* ---- The verdict. ---- */

static int forgive_age(int ok, X509_STORE_CTX *x)
{
    int error = X509_STORE_CTX_get_error(x);
    return ok || error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID;
}

static bool refuse(X509_STORE_CTX *x, struct tls_verdict *v, enum tls_refusal refusal, const char *text)
{
    v->refusal = refusal;
    snprintf(v->text, sizeof(v->text), "verify cert failed: %s", text);
    if (refusal != TLS_PEER_UNVERIFIED)
        X509_STORE_CTX_set_error(x, X509_V_ERR_PERMITTED_VIOLATION); /* to the peer: certificate_unknown, as Envoy says */
    return false;
}

static bool verify_chain(X509_STORE_CTX *x, const struct tls_spec *s, struct tls_verdict *v)
{
    char text[280];
    if (s->allow_expired)
        X509_STORE_CTX_set_verify_cb(x, forgive_age);
    if (X509_verify_cert(x) > 0)
        return true;
    int error = X509_STORE_CTX_get_error(x);
    snprintf(text, sizeof(text), "X509_verify_cert: certificate verification error at depth %d: %s",
             X509_STORE_CTX_get_error_depth(x), X509_verify_cert_error_string(error));
    if (error == X509_V_OK)
        X509_STORE_CTX_set_error(x, X509_V_ERR_UNSPECIFIED);
    else if (error == X509_V_ERR_CERT_NOT_YET_VALID)
        X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_HAS_EXPIRED); /* to the peer, as Envoy says it */
    return refuse(x, v, TLS_PEER_UNVERIFIED, text);
}

/* All names of the certificate, in its order; a NUL shows. */
static void list_names(const X509 *leaf, struct buf *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        char ip[INET6_ADDRSTRLEN];
        bool is_text = g->type == GEN_DNS || g->type == GEN_URI || g->type == GEN_EMAIL;
        struct str text = is_text ? raw_text(g) : g->type == GEN_IPADD ? name_text(g, ip, sizeof(ip)) : STR("?");
        if (i > 0)
            buf_append_c(out, ", ");
        for (size_t n = 0; n < text.n && buf_len(out) < 256; n++)
            buf_printf(out, text.p[n] > ' ' && text.p[n] < 127 ? "%c" : "\\x%02x", (uint8_t)text.p[n]);
    }
    GENERAL_NAMES_free(names);
}

static bool refuse_names(X509_STORE_CTX *x, struct tls_verdict *v, const X509 *leaf, struct str expected_dns)
{
    char text[280];
    struct buf names = {0};
    list_names(leaf, &names);
    if (expected_dns.n > 0)
        snprintf(text, sizeof(text), "verify SAN list, expected SANs: [%.*s], certificate SANs: [%.*s]", STR_FMT(expected_dns),
                 STR_FMT(buf_str(&names)));
    else
        snprintf(text, sizeof(text), "SAN matcher, certificate SANs are [%.*s]", STR_FMT(buf_str(&names)));
    buf_fini(&names);
    return refuse(x, v, TLS_PEER_WRONG_SAN, text);
}

bool tls_verify(X509_STORE_CTX *x, const struct tls_material *m, struct str expected_dns, struct tls_verdict *verdict_r)
{
    const X509 *leaf = X509_STORE_CTX_get0_cert(x);
    *verdict_r = (struct tls_verdict){0};
    if (m->store && !verify_chain(x, &m->spec, verdict_r) && !m->spec.accept_untrusted)
        return false;
    if (!has_wanted_name(leaf, &m->spec, expected_dns))
        return refuse_names(x, verdict_r, leaf, expected_dns);
    if (!has_wanted_hash(leaf, &m->spec))
        return refuse(x, verdict_r, TLS_PEER_WRONG_HASH, "cert hash and spki");
    X509_STORE_CTX_set_error(x, X509_V_OK);
    return true;
}
