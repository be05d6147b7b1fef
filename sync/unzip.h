/* Reads a ZIP archive of one file, as Microsoft's reports come in. Pure. */
#ifndef RL_SYNC_UNZIP_H
#define RL_SYNC_UNZIP_H

#include "base/span.h"

/* The first file whose name ends in `suffix`, in any case; appended to `out`. RL_EBADMSG: no archive, no such file, or
 * one that is not whole; RL_ERANGE: larger than `limit`; RL_EUNSUPPORTED: encrypted, or packed in a
 * way that libzip does not know. */
rl_err rl_unzip(rl_span archive, const char *suffix, size_t limit, rl_buf *out, rl_error *e);

#endif
