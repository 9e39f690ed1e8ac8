/*
 * sock_name.h - addresses of sockets as text, without spaces:
 *
 *	path:TEXT		of the UNIX domain; bytes other than letters,
 *				digits and ./_+-: as %HH
 *	abstract:TEXT		likewise
 *	inet:ADDRESS:PORT
 *	inet6:[ADDRESS]:PORT[%SCOPE]
 */
#ifndef SOCK_NAME_H
#define SOCK_NAME_H

#include <stdbool.h>
#include <sys/socket.h>

#define SOCK_NAME_MAX 400

void sock_name_format(
    char out[SOCK_NAME_MAX], const struct sockaddr_storage *a, socklen_t len);

/* Strict. */
bool sock_name_parse(const char *s, struct sockaddr_storage *a, socklen_t *len);

/* Of a path: as a string. */
const char *sock_name_path(
    const struct sockaddr_storage *a, socklen_t len, char out[SOCK_NAME_MAX]);

bool sock_name_equal(const struct sockaddr_storage *a, socklen_t alen,
    const struct sockaddr_storage *b, socklen_t blen);

#endif
