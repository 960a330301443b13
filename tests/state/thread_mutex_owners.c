#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <semaphore.h>
#include <errno.h>
#include <snap.h>
static pthread_mutex_t rec, err, rob, plain=PTHREAD_MUTEX_INITIALIZER; static sem_t ready,go,done; 
static void*holder(void*a){ pthread_mutex_lock(&rec); pthread_mutex_lock(&rec); pthread_mutex_lock(&err); pthread_mutex_lock(&rob); pthread_mutex_lock(&plain); sem_post(&ready); sem_wait(&go);
  int r1=pthread_mutex_unlock(&rec), r2=pthread_mutex_unlock(&rec), r3=pthread_mutex_unlock(&err), r4=pthread_mutex_unlock(&plain); sem_post(&done);
  return (void*)(long)(r1|r2<<4|r3<<8|r4<<12); /* dies holding rob */ }
int main(int c,char**v){ pthread_mutexattr_t a; pthread_mutexattr_init(&a); pthread_mutexattr_settype(&a,PTHREAD_MUTEX_RECURSIVE); pthread_mutex_init(&rec,&a);
 pthread_mutexattr_settype(&a,PTHREAD_MUTEX_ERRORCHECK); pthread_mutex_init(&err,&a);
 pthread_mutexattr_init(&a); pthread_mutexattr_setrobust(&a,PTHREAD_MUTEX_ROBUST); pthread_mutex_init(&rob,&a);
 pthread_mutex_t pi; pthread_mutexattr_init(&a); pthread_mutexattr_setprotocol(&a,PTHREAD_PRIO_INHERIT); pthread_mutex_init(&pi,&a);
 sem_init(&ready,0,0); sem_init(&go,0,0); sem_init(&done,0,0); pthread_t t; pthread_create(&t,0,holder,0); sem_wait(&ready);
 if(c>1) pthread_mutex_lock(&pi);
 snap_ready(); int e=pthread_mutex_unlock(&err); sem_post(&go); void*r; sem_wait(&done); pthread_join(t,&r); int o=pthread_mutex_lock(&rob);
 printf("notowner %d results %lx robust %s\n", e==EPERM,(long)r,o==EOWNERDEAD?"ownerdead":"?"); return !(e==EPERM&&!r&&o==EOWNERDEAD); }
