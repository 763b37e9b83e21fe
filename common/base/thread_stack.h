// The stack of the calling thread.
#pragma once

namespace roamstead {

// Gives back the memory of its part that was never used: what threads do first that live long and mostly
// wait. Windows and Linux give a stack memory as it grows, and nothing is done there. Wine touches all of it,
// 1 MiB, before a thread begins.
void release_unused_stack();

}  // namespace roamstead
