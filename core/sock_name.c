#include "sock_name.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "fdkv.h"

#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)
#define PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)

static void
put_bytes(char *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (isalnum(c) || (c != '\0' && strchr("./_+-:", c) != NULL))
			*out++ = (char)c;
		else
			out += sprintf(out, "%%%02x", c);
	}
	*out = '\0';
}

/* A path may fill the structure, or end at a NUL; another has its length. */
static void
format_unix(char *out, const struct sockaddr_un *u, socklen_t len)
{
	size_t n = len > PATH_OFFSET ? len - PATH_OFFSET : 0;

	n = n > PATH_SIZE ? PATH_SIZE : n;
	if (n > 0 && u->sun_path[0] == '\0') {
		strcpy(out, "abstract:");
		put_bytes(out + 9, u->sun_path + 1, n - 1);
	} else {
		strcpy(out, "path:");
		put_bytes(out + 5, u->sun_path, strnlen(u->sun_path, n));
	}
}

void
sock_name_format(
    char out[SOCK_NAME_MAX], const struct sockaddr_storage *a, socklen_t len)
{
	const struct sockaddr_in *in = (const void *)a;
	const struct sockaddr_in6 *in6 = (const void *)a;
	char host[INET6_ADDRSTRLEN];
	int n;

	switch (a->ss_family) {
	case AF_UNIX:
		format_unix(out, (const void *)a, len);
		break;
	case AF_INET:
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(out, SOCK_NAME_MAX, "inet:%s:%u", host,
		    ntohs(in->sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		n = snprintf(out, SOCK_NAME_MAX, "inet6:[%s]:%u", host,
		    ntohs(in6->sin6_port));
		if (in6->sin6_scope_id != 0)
			snprintf(out + n, SOCK_NAME_MAX - (size_t)n, "%%%u",
			    in6->sin6_scope_id);
		break;
	default:
		snprintf(out, SOCK_NAME_MAX, "family:%u", a->ss_family);
	}
}

static bool
get_bytes(const char *s, char *out, size_t size, size_t *len)
{
	uint8_t byte;

	*len = 0;
	while (*s != '\0') {
		if (*len == size)
			return false;
		if (*s == '%') {
			char hex[3] = { s[1], s[1] == '\0' ? '\0' : s[2], 0 };

			if (!kv_hex(hex, &byte, 1))
				return false;
			out[(*len)++] = (char)byte;
			s += 3;
		} else {
			out[(*len)++] = *s++;
		}
	}
	return true;
}

static bool
parse_unix(const char *s, bool abstract, struct sockaddr_un *u, socklen_t *len)
{
	size_t n;

	u->sun_family = AF_UNIX;
	if (!get_bytes(s, u->sun_path + abstract, PATH_SIZE - abstract, &n) ||
	    (!abstract && (n == 0 || memchr(u->sun_path, 0, n) != NULL)))
		return false;
	*len = (socklen_t)(PATH_OFFSET + n + 1);
	if (*len > sizeof(*u))
		*len = sizeof(*u);
	return true;
}

static bool
parse_inet(const char *s, struct sockaddr_in *in)
{
	const char *colon = strrchr(s, ':');
	char host[INET_ADDRSTRLEN];
	uint64_t port;

	if (colon == NULL || (size_t)(colon - s) >= sizeof(host) ||
	    !kv_number(colon + 1, 10, UINT16_MAX, &port))
		return false;
	memcpy(host, s, (size_t)(colon - s));
	host[colon - s] = '\0';
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &in->sin_addr) == 1;
}

static bool
parse_inet6(const char *s, struct sockaddr_in6 *in)
{
	const char *end = strchr(s, ']');
	char host[INET6_ADDRSTRLEN];
	uint64_t port, scope = 0;

	if (*s++ != '[' || end == NULL || (size_t)(end - s) >= sizeof(host))
		return false;
	memcpy(host, s, (size_t)(end - s));
	host[end - s] = '\0';
	s = end + 1;
	if (!kv_scan_text(&s, ":") || !kv_scan_u64(&s, 10, UINT16_MAX, &port) ||
	    (kv_scan_text(&s, "%") &&
		!kv_scan_u64(&s, 10, UINT32_MAX, &scope)) ||
	    *s != '\0')
		return false;
	in->sin6_family = AF_INET6;
	in->sin6_port = htons((uint16_t)port);
	in->sin6_scope_id = (uint32_t)scope;
	return inet_pton(AF_INET6, host, &in->sin6_addr) == 1;
}

bool
sock_name_parse(const char *s, struct sockaddr_storage *a, socklen_t *len)
{
	memset(a, 0, sizeof(*a));
	if (kv_scan_text(&s, "path:"))
		return parse_unix(s, false, (void *)a, len);
	if (kv_scan_text(&s, "abstract:"))
		return parse_unix(s, true, (void *)a, len);
	if (kv_scan_text(&s, "inet:")) {
		*len = sizeof(struct sockaddr_in);
		return parse_inet(s, (void *)a);
	}
	*len = sizeof(struct sockaddr_in6);
	return kv_scan_text(&s, "inet6:") && parse_inet6(s, (void *)a);
}

const char *
sock_name_path(
    const struct sockaddr_storage *a, socklen_t len, char out[SOCK_NAME_MAX])
{
	const struct sockaddr_un *u = (const void *)a;
	size_t n = len > PATH_OFFSET ? len - PATH_OFFSET : 0;

	n = strnlen(u->sun_path, n > PATH_SIZE ? PATH_SIZE : n);
	memcpy(out, u->sun_path, n);
	out[n] = '\0';
	return out;
}

bool
sock_name_equal(const struct sockaddr_storage *a, socklen_t alen,
    const struct sockaddr_storage *b, socklen_t blen)
{
	char x[SOCK_NAME_MAX], y[SOCK_NAME_MAX];

	sock_name_format(x, a, alen);
	sock_name_format(y, b, blen);
	return strcmp(x, y) == 0;
}
