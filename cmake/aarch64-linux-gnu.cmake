# Cross-compiles for 64-bit Arm with Debian's and Ubuntu's packages g++-aarch64-linux-gnu and qemu-user:
# cmake -B build/aarch64 --toolchain cmake/aarch64-linux-gnu.cmake -DSSR_PYTHON=OFF -DSSR_CUDA=OFF
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
# Python and nlohmann-json are this machine's: one runs while configuring, the other is headers.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
