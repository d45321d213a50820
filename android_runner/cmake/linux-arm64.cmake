# Linux programs for arm64 phones, made on any Linux by Debian's cross compiler (g++-aarch64-linux-gnu).
#
#     cmake -S runner_core -B build --toolchain android_runner/cmake/linux-arm64.cmake ...
#
# Another compiler: -DCMAKE_CXX_COMPILER=...
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
if(NOT CMAKE_CXX_COMPILER)
  set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
endif()
# A pack's libraries are found through its loader's --library-path, wherever it lies.
set(CMAKE_SKIP_RPATH ON CACHE BOOL "No paths of the computer that builds")
