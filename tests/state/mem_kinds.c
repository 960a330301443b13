#define _GNU_SOURCE
#include <sys/mman.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <stdlib.h>
#include <setjmp.h>
#include <signal.h>
#include <snap.h>
#define CHECK(c) do{ if(!(c)){ printf("FAIL line %d: %s\n",__LINE__,#c); return 1;} }while(0)
static sigjmp_buf jb; static void h(int s){ siglongjmp(jb,s);}
static int fault(volatile char*p){ int s=sigsetjmp(jb,1); if(s) return s; (void)*p; return 0;}
static char path[4096];
int main(){
  signal(SIGSEGV,h); signal(SIGBUS,h);
  char*sh=mmap(0,1<<20,3,MAP_SHARED|MAP_ANONYMOUS,-1,0); strcpy(sh+5000,"shared");
  char*big=mmap(0,10UL<<30,3,MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE,-1,0); strcpy(big+(5UL<<30),"sparse");
  char*none=mmap(0,1<<16,0,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
  char*ro=mmap(0,8192,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); strcpy(ro,"readonly"); mprotect(ro,8192,1);
  int fd=open("data.bin",O_RDWR|O_CREAT|O_TRUNC,0644); fchmod(fd,0666); realpath("data.bin",path); write(fd,"0123456789",10); 
  char*fs=mmap(0,8192,3,MAP_SHARED,fd,0); char*fp=mmap(0,8192,3,MAP_PRIVATE,fd,0); fp[1]='X'; close(fd);
  char*g=mmap(0,16*4096,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); memset(g,'g',16*4096); int gr=madvise(g+4096*4,4096,102);
  unsigned char*jit=mmap(0,4096,7,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); memcpy(jit,"\xb8\x2a\0\0\0\xc3",6);
  char*w=mmap(0,4096,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); strcpy(w,"x"); madvise(w,4096,MADV_WIPEONFORK);
  char*lk=mmap(0,8192,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0); strcpy(lk,"locked"); mlock(lk,8192);
  char*m=malloc(300000); memset(m,'m',300000);
  int r=snap_ready();
  CHECK(!strcmp(sh+5000,"shared")); CHECK(!strcmp(big+(5UL<<30),"sparse")); CHECK(big[1UL<<30]==0); CHECK(fault(none)==SIGSEGV);
  CHECK(!strcmp(ro,"readonly")); 
  CHECK(fs[0]=='0'||fs[0]=='S'); fs[0]='S'; CHECK(fp[1]=='X'); CHECK(fault(fs+4096)==SIGBUS); CHECK(fault(fp+4096)==SIGBUS);
  char b[4]={0}; fd=open(path,O_RDONLY); read(fd,b,1); CHECK(b[0]=='S');
  if(!gr){ CHECK(fault(g+4096*4)==SIGSEGV); CHECK(g[4096*5]=='g'); }
  CHECK(((int(*)(void))jit)()==42);
  if(r) CHECK(w[0]==0); CHECK(!strcmp(lk,"locked"));
  m=realloc(m,3000000); CHECK(m[299999]=='m'); m[2999999]=1; 
  if(fork()==0){ sh[0]='F'; _exit(0);} wait(0); CHECK(sh[0]=='F');
  printf("ok %d guard %d\n",r,gr); return 0; }
