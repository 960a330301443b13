#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <poll.h>
#include <time.h>
#include <snap.h>
static pthread_mutex_t m=PTHREAD_MUTEX_INITIALIZER; static pthread_cond_t c=PTHREAD_COND_INITIALIZER; static int go; static int n;
static void*f(void*a){ long i=(long)a; if(i==3){ struct timespec t={0,300000000}; nanosleep(&t,0);} 
 pthread_mutex_lock(&m); while(!go) pthread_cond_wait(&c,&m); n+=i; pthread_mutex_unlock(&m); return (void*)(i*2);}
int main(){ pthread_t t[8]; for(long i=0;i<8;i++) pthread_create(&t[i],0,f,(void*)i);
 usleep(50000); int r=snap_ready(); 
 pthread_mutex_lock(&m); go=1; pthread_cond_broadcast(&c); pthread_mutex_unlock(&m);
 long s=0; for(int i=0;i<8;i++){ void*v; pthread_join(t[i],&v); s+=(long)v; }
 printf("restored %d n %d s %ld gettid ok %d\n",r,n,s,(int)(syscall(SYS_gettid)==getpid())); fflush(stdout); return !(n==28 && s==56 && syscall(SYS_gettid)==getpid());}
