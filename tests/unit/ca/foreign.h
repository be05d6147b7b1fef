/* Other CAs for the CA's tests, made by the openssl program in the data folder. */
#ifndef TESTS_CA_FOREIGN_H
#define TESTS_CA_FOREIGN_H

#include "fixture.h"

/* `name`.pem and .key: a root, CN=`name`. */
static inline void make_foreign_ca(const fixture *f, const char *name)
{
    char command[512];
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key -subj '/CN=%s' "
             "-days 3650 -addext keyUsage=critical,keyCertSign,cRLSign -out %s.pem",
             name, name, name);
    run(f, command);
}

/* `name`.pem below `ca`, with the lines of an extension file. */
static inline void make_foreign_cert(const fixture *f, const char *ca, const char *name, const char *extensions)
{
    char command[900];
    snprintf(command, sizeof(command),
             "printf '%%b' '%s' > %s.ext; openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "
             "%s.key -subj '/CN=%s' -out %s.csr && openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key "
             "-CAcreateserial -days 365 -extfile %s.ext -out %s.pem",
             extensions, name, name, name, name, name, ca, ca, name, name);
    run(f, command);
}

static inline X509 *read_pem(const fixture *f, const char *name)
{
    char path[128];
    path_in(f, name, path);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    X509 *cert = PEM_read_X509(in, NULL, NULL, NULL);
    fclose(in);
    assert_non_null(cert);
    return cert;
}

/* Imports one file's certificate. */
static inline rl_err import_one(fixture *f, const char *name, rl_ca_imported *out)
{
    X509 *cert = read_pem(f, name);
    rl_err err = rl_ca_import(f->ca, &cert, 1, out, &f->e);
    X509_free(cert);
    return err;
}

#endif
