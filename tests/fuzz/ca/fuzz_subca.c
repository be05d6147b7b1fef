/* Any lines as what a subordinate CA may certify, below a CA with constraints of its own: what is accepted can be
 * encoded as nameConstraints and read back, and has names of the three kinds alone. */
#include <openssl/pem.h>
#include <stdlib.h>

#include "ca/ca_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES = 70, TEXT_ROOM = 300 };

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* Of a CA that may certify example.com and 10.0.0.0/8, with a path length of 2. */
static X509 *make_issuer(void)
{
    static const char *const extensions[][2] = {
        {"basicConstraints", "critical,CA:TRUE,pathlen:2"},
        {"nameConstraints", "critical,permitted;DNS:example.com,permitted;IP:10.0.0.0/255.0.0.0"}};
    X509 *cert = X509_new();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    for (size_t i = 0; i < 2; i++) {
        X509_EXTENSION *extension = X509V3_EXT_conf(NULL, NULL, extensions[i][0], extensions[i][1]);
        check(X509_add_ext(cert, extension, -1) == 1);
        X509_EXTENSION_free(extension);
    }
    check(X509_sign(cert, key, EVP_sha256()) > 0);
    EVP_PKEY_free(key);
    return cert;
}

static void check_trees(STACK_OF(GENERAL_SUBTREE) * trees)
{
    for (int i = 0; i < sk_GENERAL_SUBTREE_num(trees); i++) {
        const GENERAL_NAME *base = sk_GENERAL_SUBTREE_value(trees, i)->base;
        check(base->type == GEN_DNS || base->type == GEN_EMAIL || base->type == GEN_IPADD);
        int n = base->type == GEN_IPADD ? ASN1_STRING_length(base->d.iPAddress) : 8;
        check(n == 8 || n == 32);
    }
}

static void check_sub(const ca_sub *sub)
{
    unsigned char *der = NULL;
    check(sub->path_length >= 0 && sub->path_length < 2 && sk_ASN1_OBJECT_num(sub->eku) == 1);
    if (!sub->names)
        return;
    check_trees(sub->names->permittedSubtrees);
    check_trees(sub->names->excludedSubtrees);
    int n = ASN1_item_i2d((ASN1_VALUE *)sub->names, &der, ASN1_ITEM_rptr(NAME_CONSTRAINTS));
    const unsigned char *at = der;
    ASN1_VALUE *back = n > 0 ? ASN1_item_d2i(NULL, &at, n, ASN1_ITEM_rptr(NAME_CONSTRAINTS)) : NULL;
    check(back && at == der + n);
    ASN1_item_free(back, ASN1_ITEM_rptr(NAME_CONSTRAINTS));
    OPENSSL_free(der);
}

/* The first octet: path length, and whether any name is permitted; then a line each, those that begin with '-' are
 * excluded. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rl_ca ca;
    static rl_issuer issuer;
    static X509_NAME *subject;
    static char room[LINES][TEXT_ROOM];
    char *permit[LINES], *exclude[LINES];
    rl_sub_ca asked = {.permit = {permit, 0}, .exclude = {exclude, 0}};
    if (!issuer.cert) {
        issuer = (rl_issuer){.id = 1, .cert = make_issuer()};
        check(rl_name_parse("CN=Sub CA", &subject, NULL) == RL_OK);
    }
    if (size == 0)
        return 0;
    asked.path_length = (data[0] & 3) - 1;
    asked.any_name = data[0] & 4;
    for (size_t at = 1, i = 0; at < size && i < LINES; i++) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t n = end ? (size_t)(end - data) - at : size - at;
        bool minus = n > 0 && data[at] == '-';
        snprintf(room[i], TEXT_ROOM, "%.*s", (int)(n - minus), (const char *)data + at + minus);
        rl_text_list *list = minus ? &asked.exclude : &asked.permit;
        list->items[list->n++] = room[i];
        at += n + 1;
    }
    ca_sub sub;
    rl_error e = {0};
    if (ca_sub_read(&ca, &issuer, subject, &asked, &sub, &e) != RL_OK) {
        check(e.message[0] && !sub.names && !sub.eku);
        return 0;
    }
    check_sub(&sub);
    ca_sub_clear(&sub);
    return 0;
}
