#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <snap.h>
static int generation; 
int main(int c,char**v){
  char *s=malloc(100000); sprintf(s,"state"); 
  for(;;){ int r=snap_ready();
    if(!r){ printf("ordinary\n"); return 0; }
    generation++; char*t=malloc(200000); sprintf(t,"%s.%d",s,generation); s=t; 
    struct timespec ts; clock_gettime(CLOCK_MONOTONIC,&ts);
    if(snap_argc()>1 && !strcmp(snap_argv()[1],"stop")){ printf("gen %d %s arg %s E=%s\n",generation,s,snap_argv()[snap_argc()-1],getenv("E")); return generation; }
  } }
