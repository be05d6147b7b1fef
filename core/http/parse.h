/* Bytes of a connection become requests: llhttp reads the head, the body is framed here.
 *
 * No libuv and no sockets: the connection puts octets behind `fill` and asks for the next event, the fuzz
 * target does the same. One http_in belongs to one connection and is used on its worker's thread.
 * It owns one buffer. A request lies in it whole: header names and values and the body are spans into it,
 * and a chunked body is de-chunked in place, so nothing is copied on the way to a handler. */
#ifndef RL_HTTP_PARSE_H
#define RL_HTTP_PARSE_H

#include <llhttp.h>

#include "http/server.h"

enum {
    HTTP_IN_FIRST = 8 * 1024,        /* first size of the buffer, and what a spare exchange keeps */
    HTTP_IN_KEEP = 64 * 1024,        /* a buffer that grew above this is given back after the request */
    HTTP_CHUNK_OVERHEAD = 16 * 1024, /* chunk lines and trailers, beyond 8 octets for each octet of body */
    HTTP_KNOWN_MAX = 512,            /* octets of a head that is known again */
};

typedef enum {
    HTTP_IN_MORE, /* needs more octets */
    HTTP_IN_HEAD, /* the head is complete: check it, set body_limit, go on */
    HTTP_IN_DONE, /* the request is complete */
    HTTP_IN_BAD,  /* status and why tell the reason; nothing behind it can be read */
} http_in_event;

typedef enum { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED } http_framing;

typedef struct http_field { /* offsets from the request's first octet: the buffer may move */
    uint32_t name, name_n, value, value_n;
} http_field;

typedef struct http_chunked {
    enum {
        CHUNK_SIZE,
        CHUNK_SIZE_MORE,
        CHUNK_EXT,
        CHUNK_SIZE_LF,
        CHUNK_DATA,
        CHUNK_DATA_CR,
        CHUNK_DATA_LF,
        CHUNK_TRAILER,
        CHUNK_TRAILER_MORE,
        CHUNK_TRAILER_LF,
        CHUNK_END_LF,
        CHUNK_DONE
    } state;
    uint64_t left;   /* octets of the current chunk */
    size_t overhead; /* octets that were not body */
} http_chunked;

/* The head that llhttp read last, but for its target. A client's next one is nearly always the same, and then what
 * llhttp and the callbacks made of it holds again: `ll`, and `fields` but for the place where they begin. */
typedef struct http_known {
    size_t method_n, rest_n; /* octets of it in front of the target and behind; rest_n = 0: none */
    uint32_t target_n;       /* for which the offsets in `fields` hold */
    size_t fields_n;
    uint8_t octets[HTTP_KNOWN_MAX];
} http_known;

typedef struct http_in {
    llhttp_t ll;
    http_known known;
    uint8_t *buf;
    size_t cap, fill;
    size_t start;  /* the current request's first octet; what follows is counted from it */
    size_t seen;   /* octets of it that were parsed */
    size_t head_n; /* length of the head, 0 while it is not complete */
    size_t body_n;
    uint32_t target, target_n;
    http_field fields[RL_HTTP_HEADERS_MAX];
    size_t fields_n;
    bool field_open; /* between a name's first octet and its value's last */
    bool moved;      /* since http_in_spans: what it handed out no longer holds */
    bool keep;       /* consumed octets stay where they are, until http_in_release: http_in_rewind may need them */
    http_framing framing;
    uint64_t length; /* for HTTP_BODY_LENGTH */
    http_chunked chunked;
    size_t header_limit, body_limit;
    int status;
    const char *why;
} http_in;

rl_err http_in_init(http_in *in, size_t header_limit);
void http_in_free(http_in *in);
/* Forgets everything read, for a new connection in the same memory. */
void http_in_clear(http_in *in);

/* Where the next read may put octets, and how many; 0 when there is no room. The buffer is compacted and grows
 * up to what the limits allow, so call it only while no handler holds spans of it. */
size_t http_in_room(http_in *in, uint8_t **at);
static inline void http_in_added(http_in *in, size_t n)
{
    in->fill += n;
}

http_in_event http_in_next(http_in *in);
/* Drops the finished request; what follows it in the buffer is the next one. */
void http_in_consume(http_in *in);
/* Back to a request that was consumed with `keep`, whose `start` this was. */
void http_in_rewind(http_in *in, size_t start);
/* Ends `keep`. */
void http_in_release(http_in *in);
/* Octets behind `start`. */
static inline size_t http_in_pending(const http_in *in)
{
    return in->fill - in->start;
}

/* Target and headers as spans. Valid until http_in_room moves the buffer or http_in_consume. */
void http_in_spans(http_in *in, rl_http_request *req);
rl_span http_in_body(const http_in *in);

/* ---- head.c ---- */
typedef struct http_head {
    bool keep_alive;
    bool expects_continue;
} http_head;

/* After HTTP_IN_HEAD: sets the framing and fills the request's method, version, target, path, query and headers.
 * Returns 0, or the status to refuse it with and *why. The spans hold as those of http_in_spans do. */
int http_head_read(http_in *in, rl_http_request *req, http_head *head, const char **why);

/* ---- chunked.c ----
 * RFC 9112 §7.1, strict: hexadecimal size of at most 8 digits, every line ends with CRLF. Reads `in`, writes the
 * data to `out` (which may be the same memory, at or before the cursor). Returns the octets read; *status is 0,
 * or 400 / 413 when the body is refused. Body octets are added to *body_n, never above `limit`. */
size_t http_chunked_read(http_chunked *c, rl_span in, uint8_t *out, size_t *body_n, size_t limit, int *status);

#endif
