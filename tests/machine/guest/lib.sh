# For the scripts of this directory: steps that leave their output, errors and exit code in $OUT, and say where they are.

# step TEXT...: a line of progress
step() { echo "@@ $*"; }

# run NAME COMMAND...: $OUT/NAME.{out,err,rc}
run() {
  name=$1
  shift
  step "$name"
  "$@" >"$OUT/$name.out" 2>"$OUT/$name.err"
  echo $? >"$OUT/$name.rc"
}

# read_msrs NAME: every VMX MSR of every CPU, by Debian's rdmsr: lines "CPU INDEX VALUE", or "CPU INDEX -" where it fails
read_msrs() {
  step "$1"
  for node in /dev/cpu/[0-9]*; do
    cpu=${node##*/}
    for index in 3a $(for low in 8 9; do for digit in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do echo "4$low$digit"; done; done); do
      echo "$cpu 0x$index $(rdmsr -p "$cpu" -c "0x$index" 2>>"$OUT/$1.err" || echo -)"
    done
  done >"$OUT/$1.out"
}

# fetch NAME PORT PATTERN: the metrics of a vmxd on this machine, once they have a line that begins with PATTERN
fetch() {
  step "$1"
  for _ in $(seq 180); do
    wget -q -O "$OUT/$1.out" "http://127.0.0.1:$2/metrics" 2>/dev/null && grep -q "^$3" "$OUT/$1.out" && return
    sleep 1
  done
  step "$1: port $2 never said $3"
}

# load_kvm: kvm_intel with each set of parameters of loads.txt, $OUT/kvm/SET/{kvm.txt,parameters,error,dmesg}
load_kvm() {
  for module in irqbypass kvm; do
    insmod /lib/modules/$module.ko
  done
  python3 /payload/kvm_loads.py </payload/loads.txt
}
