/* `revline ocsp`: the question, and the report that the answer is explained in. Private to the cli_ocsp files. */
#ifndef RL_APP_CLI_OCSP_H
#define RL_APP_CLI_OCSP_H

#include <openssl/ocsp.h>

#include "app/cli.h"

typedef struct ocsp_question {
    X509 *cert, *issuer;    /* NULL: not given, which a stored answer allows */
    STACK_OF(X509) * trust; /* where the signer's chain may end; NULL exactly when `issuer` is */
    OCSP_REQUEST *request;  /* NULL for a stored answer */
} ocsp_question;

/* What is found out. The object's members are what --json prints, and the words are made of them. */
typedef struct ocsp_report {
    json_t *json;
    rl_error error; /* the first problem; RL_OK: none so far */
} ocsp_report;

/* A problem: the answer is not to be believed, or there is none. All are listed, the first decides the error. */
void cli_ocsp_problem(ocsp_report *r, rl_err code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Worth knowing, and no problem. */
void cli_ocsp_note(ocsp_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A string from outside, with '?' for control characters and for what is no UTF-8; null for NULL. */
json_t *cli_ocsp_text(const char *text);

/* cli_ocsp_explain.c: reads the answer and checks it against the question (RFC 6960 §3.2). */
void cli_ocsp_explain(ocsp_report *r, const ocsp_question *q, rl_span der);
/* cli_ocsp_signer.c: who signed, by what right, and whether the signature verifies (RFC 6960 §4.2.2.2). */
void cli_ocsp_explain_signer(ocsp_report *r, const ocsp_question *q, OCSP_BASICRESP *basic);
/* By name and key. */
bool cli_ocsp_is_issued_by(X509 *cert, const X509 *issuer);
/* cli_ocsp_print.c: the report in words. */
void cli_ocsp_print(const ocsp_report *r);

/* Seconds as a person says them: "9 min 57 s". */
enum { OCSP_SPAN_TEXT = 48 };
void cli_ocsp_span_text(int64_t s, char out[OCSP_SPAN_TEXT]);
/* "3 s ago", "9 min 57 s from now". */
void cli_ocsp_when_text(int64_t s_from_now, char out[OCSP_SPAN_TEXT]);

#endif
