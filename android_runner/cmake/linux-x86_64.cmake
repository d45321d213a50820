# Linux programs for x86_64 phones (emulators), made on such a computer by its own compiler.
#
#     cmake -S runner_core -B build --toolchain android_runner/cmake/linux-x86_64.cmake ...
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
# A pack's libraries are found through its loader's --library-path, wherever it lies.
set(CMAKE_SKIP_RPATH ON CACHE BOOL "No paths of the computer that builds")
