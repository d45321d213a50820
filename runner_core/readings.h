// The numbers in what a probe read. How the text is read is the platform's (text_reader.h).
#pragma once

#include <string_view>

#include "job.h"

namespace phonebench {

// The value of a channel in a probe's text; false if there is none, or it is not finite.
bool find_value(std::string_view text, Reading reading, const Channel& channel, double& value);

}  // namespace phonebench
