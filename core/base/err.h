/* Errors: a small code that travels, and a detail struct that the caller owns.
 *
 * Functions that can fail return rl_err (RL_OK is 0) and, where there is something to tell a person,
 * fill the rl_error they were given (NULL is allowed: the detail is then dropped). A failure is
 * reported once, where it is handled; in between it only travels. */
#ifndef RL_BASE_ERR_H
#define RL_BASE_ERR_H

typedef enum rl_err {
    RL_OK = 0,
    RL_ENOMEM,       /* allocation failed */
    RL_EINVAL,       /* an argument or a setting makes no sense */
    RL_EBADMSG,      /* outside input is malformed */
    RL_ERANGE,       /* a value or size is outside its limit */
    RL_ENOTFOUND,    /* no such certificate, issuer, object, key */
    RL_EEXISTS,      /* already there, or already in that state */
    RL_EIO,          /* file, socket or database failed */
    RL_EBUSY,        /* someone else holds it, or a queue is full: try later */
    RL_ETIMEDOUT,    /* took longer than allowed */
    RL_EDENIED,      /* not allowed: wrong challenge, refused by policy or by an upstream */
    RL_ECRYPTO,      /* OpenSSL refused */
    RL_ECORRUPT,     /* our own stored data does not decode */
    RL_EUNSUPPORTED, /* well-formed, but not something we do (algorithm, version) */
    RL_ECANCELED,    /* shutting down */
    RL_EUSAGE,       /* a command was called with a word that it can never take */
} rl_err;

enum { RL_ERROR_MESSAGE_MAX = 480 };

typedef struct rl_error {
    rl_err code;
    const char *domain; /* static string: "store", "ca", "settings", … */
    char message[RL_ERROR_MESSAGE_MAX];
} rl_error;

/* Fills `e` (if not NULL) and returns `code`, so that a failing function can `return rl_fail(...)`.
 * The message names the offending value and never holds a secret. Control characters and
 * invalid UTF-8 that came in through the arguments are replaced by '?'. */
rl_err rl_fail(rl_error *e, rl_err code, const char *domain, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A short static name: "not found", "malformed", … for logs and messages. */
const char *rl_err_name(rl_err code);

#define RL_TRY(expr)                                                                                                   \
    do {                                                                                                               \
        rl_err rl_try_err_ = (expr);                                                                                   \
        if (rl_try_err_ != RL_OK)                                                                                      \
            return rl_try_err_;                                                                                        \
    } while (0)

#endif
