// A core module from freestanding C: numbers only, no libc, no imports.

__attribute__((export_name("add"))) int add(int a, int b) { return (int)((unsigned)a + (unsigned)b); }

__attribute__((export_name("power"))) double power(double base, int exponent) {
    double result = 1.0;
    for (int n = exponent < 0 ? -exponent : exponent; n > 0; n >>= 1, base *= base)
        if (n & 1) result *= base;
    return exponent < 0 ? 1.0 / result : result;
}

__attribute__((export_name("popcount"))) int popcount(long long bits) { return __builtin_popcountll((unsigned long long)bits); }

__attribute__((export_name("is_prime"))) int is_prime(int n) {
    if (n < 2) return 0;
    for (int d = 2; d <= n / d; d++)
        if (n % d == 0) return 0;
    return 1;
}

__attribute__((export_name("average"))) float average(float a, float b) { return (a + b) / 2.0f; }
