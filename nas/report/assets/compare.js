// The comparison's own part: there is none but the theme.
showTheme();
