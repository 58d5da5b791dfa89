/* Certificates made to order, good and bad, as PEM texts that live in an arena. */
#ifndef OUTRIGGER_TESTS_UNIT_TLS_CERTS_H
#define OUTRIGGER_TESTS_UNIT_TLS_CERTS_H

#include "sidecar/base/arena.h"
#include "sidecar/base/die.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

struct cert {
    X509 *x;
    EVP_PKEY *key;
    struct str pem, key_pem;
};

enum key_kind { KEY_P256, KEY_RSA_2048, KEY_RSA_1024, KEY_P224, KEY_ED25519 };

struct cert_order {
    const char *common_name;
    const struct cert *issuer; /* NULL: self-signed */
    enum key_kind key;
    bool is_ca;
    int path_length; /* of a CA; 0: none may follow it but leaves; -1: any */
    const char *sans;        /* "DNS:a,URI:b,IP:c,email:d"; NULL: none */
    struct str raw_dns;      /* a DNS name with any bytes */
    const char *extended_usage; /* "serverAuth"; NULL: none given */
    const char *usage;          /* "critical,keyCertSign"; NULL: none given */
    const char *constraints;    /* name constraints */
    int start_days, end_days;   /* from now; both 0: yesterday to tomorrow */
    const EVP_MD *digest;       /* NULL: SHA-256 */
};

static inline EVP_PKEY *cert_key(enum key_kind kind)
{
    switch (kind) {
    case KEY_RSA_2048:
        return EVP_RSA_gen(2048);
    case KEY_RSA_1024:
        return EVP_RSA_gen(1024);
    case KEY_P224:
        return EVP_EC_gen("P-224");
    case KEY_ED25519:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    default:
        return EVP_EC_gen("P-256");
    }
}

static inline struct str cert_take(BIO *bio, struct arena *a)
{
    char *text;
    long n = BIO_get_mem_data(bio, &text);
    struct str s = arena_str(a, str_n(text, (size_t)n));
    BIO_free(bio);
    return s;
}

static inline void cert_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static inline void cert_add_raw_dns(X509 *x, struct str name)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_IA5STRING *s = ASN1_IA5STRING_new();
    ASN1_STRING_set(s, name.p, (int)name.n);
    GENERAL_NAME_set0_value(g, GEN_DNS, s);
    sk_GENERAL_NAME_push(names, g);
    X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_REPLACE);
    GENERAL_NAMES_free(names);
}

static inline void cert_add_extensions(X509 *x, X509 *issuer, const struct cert_order *o)
{
    char basic[64];
    snprintf(basic, sizeof(basic), o->path_length >= 0 ? "critical,CA:TRUE,pathlen:%d" : "critical,CA:TRUE", o->path_length);
    cert_extend(x, issuer, NID_basic_constraints, o->is_ca ? basic : "critical,CA:FALSE");
    if (o->sans)
        cert_extend(x, issuer, NID_subject_alt_name, o->sans);
    if (o->raw_dns.n > 0)
        cert_add_raw_dns(x, o->raw_dns);
    if (o->extended_usage)
        cert_extend(x, issuer, NID_ext_key_usage, o->extended_usage);
    if (o->usage)
        cert_extend(x, issuer, NID_key_usage, o->usage);
    if (o->constraints)
        cert_extend(x, issuer, NID_name_constraints, o->constraints);
}

static inline struct cert cert_make(struct arena *a, struct cert_order o)
{
    static long serial = 4095;
    struct cert c = {.x = X509_new(), .key = cert_key(o.key)};
    const struct cert *issuer = o.issuer ? o.issuer : &c;
    bool dated = o.start_days || o.end_days;
    X509_set_version(c.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c.x), 86400L * (dated ? o.start_days : -1));
    X509_gmtime_adj(X509_getm_notAfter(c.x), 86400L * (dated ? o.end_days : 1));
    X509_set_pubkey(c.x, c.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x), "CN", MBSTRING_ASC, (const unsigned char *)o.common_name, -1, -1, 0);
    X509_set_issuer_name(c.x, X509_get_subject_name(issuer->x));
    cert_add_extensions(c.x, issuer->x, &o);
    assert(X509_sign(c.x, issuer->key, EVP_PKEY_get_base_id(issuer->key) == EVP_PKEY_ED25519 ? NULL
                                       : o.digest                                            ? o.digest
                                                                                             : EVP_sha256()) > 0);
    BIO *pem = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(pem, c.x);
    PEM_write_bio_PrivateKey(key, c.key, NULL, NULL, 0, NULL, NULL);
    c.pem = cert_take(pem, a);
    c.key_pem = cert_take(key, a);
    return c;
}

static inline void cert_free(struct cert *c)
{
    X509_free(c->x);
    EVP_PKEY_free(c->key);
}

#endif
