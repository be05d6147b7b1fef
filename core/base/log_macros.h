/* The logging macros: pairs of name and value become an array of rl_log_field. Included by log.h only. */
#ifndef RL_BASE_LOG_MACROS_H
#define RL_BASE_LOG_MACROS_H

static inline rl_log_field rl_field_int(const char *name, long long v)
{
    return (rl_log_field){name, RL_FIELD_INT, {.i = v}};
}
static inline rl_log_field rl_field_uint(const char *name, unsigned long long v)
{
    return (rl_log_field){name, RL_FIELD_UINT, {.u = v}};
}
static inline rl_log_field rl_field_bool(const char *name, bool v)
{
    return (rl_log_field){name, RL_FIELD_BOOL, {.b = v}};
}
static inline rl_log_field rl_field_double(const char *name, double v)
{
    return (rl_log_field){name, RL_FIELD_DOUBLE, {.d = v}};
}
static inline rl_log_field rl_field_str(const char *name, const char *v)
{
    return (rl_log_field){name, RL_FIELD_STR, {.s = v}};
}
static inline rl_log_field rl_field_span(const char *name, rl_span v)
{
    return (rl_log_field){name, RL_FIELD_SPAN, {.span = v}};
}

#define RL_LOG_FIELD(name, value)                                                                                      \
    _Generic((value),                                                                                                  \
        bool: rl_field_bool,                                                                                           \
        char: rl_field_int, signed char: rl_field_int, short: rl_field_int, int: rl_field_int, long: rl_field_int,     \
        long long: rl_field_int,                                                                                       \
        unsigned char: rl_field_uint, unsigned short: rl_field_uint, unsigned: rl_field_uint,                          \
        unsigned long: rl_field_uint, unsigned long long: rl_field_uint,                                               \
        float: rl_field_double, double: rl_field_double,                                                               \
        char *: rl_field_str, const char *: rl_field_str, rl_span: rl_field_span)((name), (value))

#define RL_LF_0()
#define RL_LF_2(n, v)       RL_LOG_FIELD(n, v)
#define RL_LF_4(n, v, ...)  RL_LOG_FIELD(n, v), RL_LF_2(__VA_ARGS__)
#define RL_LF_6(n, v, ...)  RL_LOG_FIELD(n, v), RL_LF_4(__VA_ARGS__)
#define RL_LF_8(n, v, ...)  RL_LOG_FIELD(n, v), RL_LF_6(__VA_ARGS__)
#define RL_LF_10(n, v, ...) RL_LOG_FIELD(n, v), RL_LF_8(__VA_ARGS__)
#define RL_LF_12(n, v, ...) RL_LOG_FIELD(n, v), RL_LF_10(__VA_ARGS__)
#define RL_LF_14(n, v, ...) RL_LOG_FIELD(n, v), RL_LF_12(__VA_ARGS__)
#define RL_LF_16(n, v, ...) RL_LOG_FIELD(n, v), RL_LF_14(__VA_ARGS__)
#define RL_LF_18(n, v, ...) RL_LOG_FIELD(n, v), RL_LF_16(__VA_ARGS__)
#define RL_LF_20(n, v, ...) RL_LOG_FIELD(n, v), RL_LF_18(__VA_ARGS__)
/* An odd count of arguments picks a name that does not exist, and so does not compile. */
#define RL_LF_PICK(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, _18, _19, _20, NAME,    \
                   ...)                                                                                                \
    NAME
#define RL_LOG_FIELDS(...)                                                                                             \
    __VA_OPT__(RL_LF_PICK(__VA_ARGS__, RL_LF_20, odd, RL_LF_18, odd, RL_LF_16, odd, RL_LF_14, odd, RL_LF_12, odd,      \
                          RL_LF_10, odd, RL_LF_8, odd, RL_LF_6, odd, RL_LF_4, odd, RL_LF_2, odd,                       \
                          RL_LF_0)(__VA_ARGS__))

#define RL_LOG_AT(level, event, ...)                                                                                   \
    do {                                                                                                               \
        if (rl_log_enabled(level)) {                                                                                   \
            const rl_log_field rl_log_fields_[] = {RL_LOG_FIELDS(__VA_ARGS__) __VA_OPT__(, ) rl_field_int(NULL, 0)};   \
            rl_log_write(level, event, rl_log_fields_, sizeof(rl_log_fields_) / sizeof(rl_log_fields_[0]) - 1);        \
        }                                                                                                              \
    } while (0)

#define log_debug(event, ...) RL_LOG_AT(RL_LOG_DEBUG, event __VA_OPT__(, ) __VA_ARGS__)
#define log_info(event, ...)  RL_LOG_AT(RL_LOG_INFO, event __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(event, ...)  RL_LOG_AT(RL_LOG_WARN, event __VA_OPT__(, ) __VA_ARGS__)
#define log_error(event, ...) RL_LOG_AT(RL_LOG_ERROR, event __VA_OPT__(, ) __VA_ARGS__)

/* Lines a client can cause: at most 10 a second from each place in the code. */
enum { RL_LOG_CLIENT_PER_SECOND = 10 };
#define RL_LOG_CLIENT(level, event, ...)                                                                               \
    do {                                                                                                               \
        static rl_log_limit rl_log_limit_;                                                                             \
        uint32_t rl_log_suppressed_ = 0;                                                                               \
        if (rl_log_enabled(level) && rl_log_allow(&rl_log_limit_, RL_LOG_CLIENT_PER_SECOND, &rl_log_suppressed_))      \
            RL_LOG_AT(level, event, "suppressed", rl_log_suppressed_ __VA_OPT__(, ) __VA_ARGS__);                      \
    } while (0)
#define log_client_info(event, ...) RL_LOG_CLIENT(RL_LOG_INFO, event __VA_OPT__(, ) __VA_ARGS__)
#define log_client_warn(event, ...) RL_LOG_CLIENT(RL_LOG_WARN, event __VA_OPT__(, ) __VA_ARGS__)

#endif
