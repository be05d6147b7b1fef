/* Errors: names of the codes, and the one place where a detail message is written.
 * Messages may carry text from outside (a header, a subject name); what could forge a log line or steer
 * a terminal is taken out here, so that no caller has to think of it. Thread-safe: no state. */
#include "base/err.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/span.h"

/* vsnprintf may have cut a UTF-8 sequence in two; an unfinished one at the end is dropped. */
static void drop_cut_utf8(char *s, size_t n)
{
    size_t start = n;
    while (start > 0 && n - start < 3 && ((unsigned char)s[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)s[start - 1];
    size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (want > n - start + 1)
        s[start - 1] = '\0';
}

rl_err rl_fail(rl_error *e, rl_err code, const char *domain, const char *fmt, ...)
{
    if (e == NULL)
        return code;
    e->code = code;
    e->domain = domain;
    /* Formatted aside first: an argument may be the old message of the same rl_error. */
    char text[RL_ERROR_MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        text[0] = '\0';
    else if ((size_t)n >= sizeof text)
        drop_cut_utf8(text, sizeof text - 1);
    rl_text_clean(text);
    memcpy(e->message, text, strlen(text) + 1);
    return code;
}

const char *rl_err_name(rl_err code)
{
    switch (code) {
    case RL_OK:
        return "ok";
    case RL_ENOMEM:
        return "out of memory";
    case RL_EINVAL:
        return "invalid";
    case RL_EBADMSG:
        return "malformed";
    case RL_ERANGE:
        return "out of range";
    case RL_ENOTFOUND:
        return "not found";
    case RL_EEXISTS:
        return "already there";
    case RL_EIO:
        return "input or output failed";
    case RL_EBUSY:
        return "busy";
    case RL_ETIMEDOUT:
        return "timed out";
    case RL_EDENIED:
        return "denied";
    case RL_ECRYPTO:
        return "cryptography failed";
    case RL_ECORRUPT:
        return "stored data is corrupt";
    case RL_EUNSUPPORTED:
        return "unsupported";
    case RL_EUSAGE:
        return "wrong usage";
    case RL_ECANCELED:
        return "canceled";
    }
    return "unknown error";
}
