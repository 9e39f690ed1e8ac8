/*
 * tcp_packet.h - packets of TCP as if a socket's peer had sent them: the only
 * way to tell the kernel that a stream has ended, or that an end was heard of.
 */
#ifndef TCP_PACKET_H
#define TCP_PACKET_H

#include "tcp_sock.h"

/* The peer's end of the stream (FIN), with which he acknowledges `ack`. */
int tcp_packet_end(int fd, const struct tcp_sock *t, uint32_t ack);

/* An acknowledgement alone. */
int tcp_packet_ack(int fd, const struct tcp_sock *t, uint32_t ack);

#endif
