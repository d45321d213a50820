# Programs of Android's own kind, linked to its C library, made by the NDK. For whoever has one:
# nobody has built with this file yet. What builds a pack by itself takes linux-arm64.cmake.
#
#     ANDROID_NDK=/path/to/ndk cmake -S runner_core -B build \
#       --toolchain android_runner/cmake/ndk.cmake -DANDROID_ABI=arm64-v8a ...
if(NOT DEFINED ENV{ANDROID_NDK} OR
   NOT EXISTS "$ENV{ANDROID_NDK}/build/cmake/android.toolchain.cmake")
  message(FATAL_ERROR "Set ANDROID_NDK in the environment to the folder of an NDK.")
endif()
if(NOT ANDROID_ABI)
  set(ANDROID_ABI arm64-v8a)
endif()
# Android 10 and later.
if(NOT ANDROID_PLATFORM)
  set(ANDROID_PLATFORM android-29)
endif()
# One file to push: nothing but Android's own libraries is looked for on the phone.
set(ANDROID_STL c++_static)
# Kernels with pages of 16 KB load them too.
set(ANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES ON)
include("$ENV{ANDROID_NDK}/build/cmake/android.toolchain.cmake")
